"""Measurements of this machine: functions that return `Figure`s, which `aquahost bench` shows with the commit."""
