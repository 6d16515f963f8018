"""`python -m aquahost.worker NAME`: begun by the daemon, never by hand; NAME only tells process lists apart."""

from __future__ import annotations

from aquahost.worker.lifeline import die_with_parent

if __name__ == "__main__":
    die_with_parent()  # before anything slow is imported

    from aquahost.worker.main import main

    main()
