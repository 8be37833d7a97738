"""`emotalk doctor`: is everything here, and does it work?"""

from __future__ import annotations

import json
from pathlib import Path

import typer

from .console import plain, tell
from .options import option

MARKS = {True: "ok", False: "BROKEN", None: ""}


def doctor(
    device: str = option("device", "auto"),
    generator: str = option("generator", "hef", "Of the self-test: hef or geometry."),
    renderer: str = option("renderer", "builtin"),
    weights: Path | None = option("weights"),
    selftest: bool = typer.Option(True, help="Make one second of video and time it."),
    strict: bool = typer.Option(
        False, "--strict", help="For servers: also judge limits, permissions and what strangers could reach."
    ),
    as_json: bool = option("json", False, "Print one JSON object, as a report of a problem needs it."),
    debug: bool = option("debug", False),
) -> int:
    """Check device, ffmpeg, weights and, with a one-second video, all together. Exit code 1 if something is broken."""
    from ..doctor import examine  # late: it imports torch

    findings = []
    for finding in examine(weights, device, generator, selftest, strict, renderer):
        findings.append(finding)
        if not as_json:
            tell(plain(f"{MARKS[finding.ok]:7} {finding.name:22} {finding.detail}"))
    broken = [finding.name for finding in findings if finding.ok is False]
    if as_json:
        listed = [{"name": found.name, "ok": found.ok, "detail": found.detail} for found in findings]
        tell(json.dumps({"ok": not broken, "findings": listed}))
    return 1 if broken else 0
