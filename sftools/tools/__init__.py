"""The commands, a module each. What they share is in command, options and terminal; installed, they begin in entry."""
