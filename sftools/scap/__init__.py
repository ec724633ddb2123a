"""Capture files. Reading: events_cy (the cursor), lists. Writing: writer. The event table is generated (tables)."""
