"""`python -m udc` is the `udc` command."""

from udc.cli.__main__ import main

if __name__ == "__main__":
    main()
