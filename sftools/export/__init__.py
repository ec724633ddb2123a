"""Ships finished traces to a store and loses none: ship (one file), lane (one directory), service (all of them)."""
