"""`python -m aquahost` is `aquahost`."""

from aquahost.cli.main import main

if __name__ == "__main__":
    main()
