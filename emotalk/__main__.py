"""`python -m emotalk` is the command `emotalk`."""

import sys

from emotalk_cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
