"""Where snapshots and events come from: a running daemon, or a file that was recorded."""
