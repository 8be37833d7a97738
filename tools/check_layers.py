#!/usr/bin/env python3
"""Check who imports whom: runtime <- data <- evaluation <- training, and no terminal in the library.

Data is `training.data`: readers of data sets, which measuring needs as much as training does.

python tools/check_layers.py; exit code 1 and a line for each import that breaks the rule.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "emotalk_cli"
ROOT = Path(__file__).resolve().parent.parent
DATA, EVALUATION, TRAINING, COMMAND = 1, 2, 3, 4  # runtime, the rest of the package, is 0
TERMINAL = ("rich", "typer", "click")  # for the command alone


def layer(module: str) -> int:
    """0 runtime, 1 data, 2 evaluation, 3 training, 4 command."""
    parts = module.removeprefix(PACKAGE + ".").split(".")
    if parts[0] in ("cli", "__main__"):
        return COMMAND
    if parts[0] == "training" and len(parts) > 1:
        return DATA if parts[1] == "data" else TRAINING
    return {"evaluation": EVALUATION}.get(parts[0], 0)


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything that a file imports, inside functions too, but for type checking only."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def broken(root: Path = ROOT) -> list[str]:
    """A sentence for each import that breaks the rule."""
    found = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        own = layer(module)
        for line, name in imports(path, module):
            where = f"{path.relative_to(root)}:{line}"
            if name.startswith(PACKAGE + ".") and layer(name) > own:
                found.append(f"{where}: {module} imports {name}, which lies further out")
            if own < COMMAND and name.split(".")[0] in TERMINAL:
                found.append(f"{where}: {module} imports {name}; only the command talks to a terminal")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    lines = broken()
    print(*lines, sep="\n", end="\n" if lines else "")
    sys.exit(bool(lines))
