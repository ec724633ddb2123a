"""Events to records: engine_cy has a handler for each kind of event; state_cy, what it knows. See docs/engine.md."""
