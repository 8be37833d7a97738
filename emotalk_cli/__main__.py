"""The command `emotalk`, also `python -m emotalk_cli`: what ctrl-C meets before the command line is there, too."""

import sys


def main() -> int:
    """Run the command line; its exit code (see `cli.main`)."""
    try:
        from .cli import main as run  # takes half a second

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("emotalk: Interrupted; nothing was left half-written.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
