"""Values that cross a process boundary: `prompts` and `wire` (daemon and worker), `snapshot` (daemon and clients)."""
