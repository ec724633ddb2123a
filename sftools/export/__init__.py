"""Ships finished traces to a store and loses none: names, scan, files, journal, ship (one file), service (the loop)."""
