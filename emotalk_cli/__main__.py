"""`python -m emotalk_cli` is the command `emotalk`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
