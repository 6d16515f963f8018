"""The terminal UI: a client of the daemon's API that shows every GPU, lease and queue live, and steers."""
