"""The `aquahost` command: one command a file, each a thin client of the daemon's API."""
