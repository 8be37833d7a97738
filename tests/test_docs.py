"""What the documents promise: the table of options, links and paths that exist, versions, layers, a lean wheel."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from emotalk_cli import __version__
from emotalk_cli.jobs import Job
from emotalk_cli.settings import JOB_OPTIONS, OPTIONS, GenerateOptions, Outputs, Settings

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)


def test_the_readme_shows_the_table_of_options():
    assert run("tools/readme_table.py", "--check").returncode == 0, "run python tools/readme_table.py"


def test_the_table_agrees_with_what_holds_the_values():
    jobs = {field.name: field for field in dataclasses.fields(Job) if field.name != "settings"}
    looks = {field.name: field for field in dataclasses.fields(Settings)}
    assert {name for name, option in OPTIONS.items() if option.role == "look"} == set(looks)
    assert set(JOB_OPTIONS) == set(jobs) | set(looks)
    for name, field in (jobs | looks).items():
        default = None if field.default is dataclasses.MISSING else field.default
        assert OPTIONS[name].default == default, name
    keywords = set(GenerateOptions.__annotations__)
    assert keywords == set(looks) | {field.name for field in dataclasses.fields(Outputs)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_exist(path: Path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", link):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
    if path.parent.name == "docs" or path.name == "CONTRIBUTING.md":
        for named in re.findall(r"`((?:emotalk_cli|tools|tests|docs)/[\w/.]+)`", text):
            assert (ROOT / named).exists(), f"{path.name} names {named}"


def test_what_the_paper_is_traced_to_exists():
    """Files and names of docs/paper.md, which says where each equation, table and figure is."""
    files = [path for path in (ROOT / "emotalk_cli").rglob("*") if path.suffix in (".py", ".toml")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".py")
    tables = re.sub(r"```.*?```", "", (ROOT / "docs" / "paper.md").read_text(encoding="utf-8"), flags=re.S)
    named = re.findall(r"`([^`]+)`", tables)
    paths = [name for name in named if re.fullmatch(r"[\w/]+\.(py|toml)", name) and not name.startswith("tests/")]
    symbols = [name for name in named if re.fullmatch(r"([a-z_]+\.)?[A-Z]\w+(\.\w+)?|[a-z_]+\.[a-z]\w+", name)]
    symbols = [name for name in symbols if name not in paths]
    assert len(paths) > 15 and len(symbols) > 15
    for path in paths:
        assert any(found.as_posix().endswith("/" + path) for found in files), path
    for symbol in symbols:
        for part in symbol.split("."):
            known = (
                rf"^\s*(class|def) {part}\b|^{part}\b.* = |^    {part}: " if part[0].islower() else rf"^class {part}\b"
            )
            module = any(path.stem == part for path in files)
            assert module or re.search(known, source, flags=re.M), symbol
    placed = re.findall(r"`([\w/]+\.py)` `(\w+)(?:\.(\w+))?`", tables)
    assert len(placed) > 10
    for path, *parts in placed:
        (file,) = (found for found in files if found.as_posix().endswith("/" + path))
        for part in filter(None, parts):
            assert re.search(rf"^ *(class|def) {part}\b", file.read_text(encoding="utf-8"), flags=re.M), (path, part)
    assert all((ROOT / path).is_file() for path in re.findall(r"`(tests/[\w.]+)`", tables))


def test_layers():
    done = run("tools/check_layers.py")
    assert done.returncode == 0, done.stdout


def test_a_broken_rule_is_found(tmp_path):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import check_layers
    finally:
        sys.path.pop(0)
    package = tmp_path / "emotalk_cli"
    for folder in ("media", "evaluation", "training"):
        (package / folder).mkdir(parents=True)
    (package / "media" / "a.py").write_text("def f():\n    from ..training import losses\n")
    (package / "evaluation" / "b.py").write_text("from ..training.losses import x\nfrom ..media import a\n")
    (package / "training" / "c.py").write_text("from ..evaluation import b\nimport rich.table\n")
    found = "\n".join(check_layers.broken(tmp_path))
    assert found.count("\n") == 2 and all(name in found for name in ("media/a.py:2", "evaluation/b.py:1", "rich.table"))


def test_versions_and_bounds():
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    metadata = (ROOT / "pyproject.toml").read_text()
    assert " @ " not in metadata  # an index refuses direct references
    core = re.search(r"^dependencies = \[(.*?)^\]", metadata, re.S | re.M)[1]
    names = {re.match(r"\w[\w-]*", line.strip().strip('"'))[0] for line in core.strip().splitlines()}
    assert names == {
        *(
            "ftfy",
            "imageio-ffmpeg",
            "numba",
            "numpy",
            "pillow",
            "regex",
            "rich",
            "safetensors",
            "tomli",
            "torch",
            "typer",
        )
    }
