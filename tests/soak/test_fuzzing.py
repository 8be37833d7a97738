"""Long: hypothesis against the parsers that are written in Python, EMOTALK_FUZZ seconds of processor time each (300)."""

# ruff: noqa: E501  (tables read better whole)

from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotalk_cli import manifests
from emotalk_cli.emotions.blends import parse_blend
from emotalk_cli.emotions.timeline import read_timeline
from emotalk_cli.errors import EmoTalkError
from emotalk_cli.jobs import Job
from emotalk_cli.media.files import _manifest
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.models import checkpoints
from emotalk_cli.motion import livelink
from emotalk_cli.settings import JOB_OPTIONS

pytestmark = pytest.mark.soak

SECONDS = float(os.environ.get("EMOTALK_FUZZ", "300"))
WORDS = st.sampled_from(["face", "audio", "emotion", "out", "time", "happy", ",", ";", "\t", "\n", '"', "0", ":", "1e9", "[", "{", "}",
                         "]", "null", "NaN", "\u2028", "\0", "\r", "sep=;", "fps", "names", "frames", "Timecode", *livelink.ARKIT[:12]])  # fmt: skip
TEXT = st.lists(WORDS | st.text(max_size=4), max_size=60).map("".join)
PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                     lambda inner: st.lists(inner, max_size=5) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5))  # fmt: skip
NAMED = st.dictionaries(
    st.sampled_from(["sidecar", "emotalk", "inputs", "options", "output", "weights", "environment", "fps", "names", "frames",
                     "head", "time", "emotion", "intensity"]), PLAIN, max_size=8)  # fmt: skip
CONTENT = (TEXT.map(lambda text: text.encode(errors="surrogatepass"))
           | (PLAIN | NAMED | st.lists(NAMED, max_size=4)).map(lambda value: json.dumps(value).encode())
           | st.binary(max_size=300))  # fmt: skip
PARSERS = {
    "manifest": manifests.read_manifest,
    "timeline": read_timeline,
    "take": livelink.read,
    "sidecar": lambda path: Job.of(Sidecar.read(path)),
    "safetensors": checkpoints.read,
    "workspace": _manifest,
}


@pytest.mark.parametrize("kind", PARSERS)
def test_files(kind, tmp_path, soaked):
    until = time.process_time() + SECONDS
    path, tried = tmp_path / "a", 0

    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=CONTENT)
    def attempt(content):
        nonlocal tried
        tried += 1
        path.write_bytes(content)
        try:
            PARSERS[kind](path)
        except EmoTalkError as error:
            assert str(error).strip()

    while time.process_time() < until:
        attempt()
    soaked(f"fuzzing: {kind}", f"{tried} inputs in {SECONDS:.0f} s, each a result or a sentence")


def test_words_and_rows(soaked):
    until, tried = time.process_time() + SECONDS, 0

    @settings(max_examples=2000, deadline=None, database=None)
    @given(text=TEXT, row=st.dictionaries(st.sampled_from(JOB_OPTIONS) | TEXT, PLAIN, max_size=6))
    def attempt(text, row):
        nonlocal tried
        tried += 1
        for parse in (lambda: parse_blend(text), lambda: Job.parse({"face": "a", "audio": "b"} | row)):
            try:
                parse()
            except EmoTalkError:
                pass

    while time.process_time() < until:
        attempt()
    soaked("fuzzing: words and rows", f"{tried} inputs in {SECONDS:.0f} s, each a result or a sentence")
