"""Who may hold how much memory of which GPU. Pure: events in, instructions out, no I/O, no clock of its own."""
