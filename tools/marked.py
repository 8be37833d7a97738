"""Tables of the docs that are made by scripts, between two marks of a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path


def renew(page: Path, marks: re.Pattern[str], table: Callable[[], str]) -> int:
    """Write a table between a page's marks, the two groups of `marks`; exit code.

    With --check nothing is written, and the code is 1 if the table would be another.
    """
    text = page.read_text(encoding="utf-8")
    made = marks.sub(lambda found: found[1] + table() + found[2], text)
    if "--check" in sys.argv:
        return int(made != text)
    page.write_text(made, encoding="utf-8")
    return 0
