#!/usr/bin/env python3
"""Run mypy: no error in the modules that pyproject.toml declares strict, and not more than before in all others.

Exit code 1 if there is an error in a strict module, or there are more elsewhere than tools/check_types.txt allows.
--lower writes the number of today's errors there, if it is smaller.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ROOT / "tools" / "check_types.txt"


def strict_modules() -> list[str]:
    """The patterns under `[[tool.mypy.overrides]]` whose comment says strict."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"# strict\nmodule = \[(.*?)\]", text, re.S)
    if listed is None:
        sys.exit("pyproject.toml names no strict modules.")
    return re.findall(r'"([^"]+)"', listed[1])


def is_strict(path: str, patterns: list[str]) -> bool:
    """Whether a file belongs to one of the patterns."""
    module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return any(
        module == pattern or (pattern.endswith(".*") and (module + ".").startswith(pattern[:-1]))
        for pattern in patterns
    )


def main() -> int:
    """Exit code."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "emotalk_cli", "emotalk"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    if done.returncode not in (0, 1) or bool(errors) != bool(done.returncode):
        print(done.stdout + done.stderr)
        return 1
    patterns = strict_modules()
    strict = [line for line in errors if is_strict(line.split(":")[0], patterns)]
    rest, allowed = len(errors) - len(strict), int(ALLOWED.read_text())
    if strict or rest > allowed:
        print(*(strict or errors), sep="\n")
    print(f"mypy: {len(strict)} errors in strict modules, {rest} in others ({allowed} allowed)")
    if "--lower" in sys.argv and rest < allowed:
        ALLOWED.write_text(f"{rest}\n")
    return int(bool(strict) or rest > allowed)


if __name__ == "__main__":
    sys.exit(main())
