"""What the screens show: the newest snapshot, and what only many tell. Pure: no screen, no clock, no socket."""
