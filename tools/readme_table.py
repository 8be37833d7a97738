#!/usr/bin/env python3
"""Write the README's table of options of `emotalk generate` from the one table of them.

python tools/readme_table.py [--check]     --check: change nothing, exit code 1 if the README is not as it should be
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from emotalk_cli.cli.options import default_in_words, metavar  # noqa: E402
from emotalk_cli.settings import GROUPS, OPTIONS, Option  # noqa: E402
from tools.marked import renew  # noqa: E402

README = ROOT / "README.md"
_TABLE = re.compile(r"(<!-- options: .*? -->\n).*?(<!-- end of options -->)", re.S)


def row(option: Option) -> str:
    """One line of Markdown."""
    value = "" if option.kind is bool else f" {metavar(option)}"
    flag = f"{option.flag}{value}".replace("|", r"\|")
    names = [f"`{short}`" for short in option.flags] + [f"`{flag}`"]
    if option.kind is bool and option.default:
        names.append(f"`--no-{option.flag[2:]}`")
    text = f"{option.help} {option.note}".strip().replace("|", r"\|").replace("<", r"\<")
    return f"| {', '.join(names)} | {default_in_words(option).replace('<', chr(92) + '<')} | {text} |"


def table() -> str:
    """All options, by group."""
    lines = ["| option | default | |", "|---|---|---|"]
    for group in GROUPS:
        lines.append(f"| **{group}** | | |")
        lines += [row(option) for option in OPTIONS.values() if option.group == group]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(renew(README, _TABLE, table))
