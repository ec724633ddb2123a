"""Joined records to text: rows.py has the fields, and there is one file for each output format."""
