"""`python -m aquahost.worker NAME`: begun by the daemon, never by hand; NAME only tells process lists apart."""

from __future__ import annotations

from aquahost.worker.lifeline import die_with_parent, guard_group

if __name__ == "__main__":
    # Before anything slow is imported, and while a fork costs next to nothing.
    die_with_parent()
    guard_group()

    from aquahost.worker.main import main

    main()
