"""Killing, fuzzing and wearing out a daemon of its own: nothing may be lost, nothing may break, nothing may grow."""
