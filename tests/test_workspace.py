"""Hidden folders beside outputs: private, random, swept when their process is dead, never a way to other files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import leftovers, video_frames, write_wav

from emotalk_cli.errors import EmoTalkError, UsageError
from emotalk_cli.media import files
from emotalk_cli.media.files import PartFile, Workspace, sweep
from emotalk_cli.media.segments import SegmentedWriter

SIZE = (64, 64)
DEAD = """
import os, sys
from pathlib import Path
from emotalk_cli.media.files import Workspace
space = Workspace(Path(sys.argv[1]), *sys.argv[2:])
(space.path / "000000.mp4").write_text("piece")
if sys.argv[2:]:
    space.add(space.path / "000000.mp4")
(space.path / "part.mp4").write_text("half")
print(space.path)
sys.stdout.flush()
os._exit(9)
"""


def dead(out: Path, *key: str) -> Path:
    """The hidden folder that a killed process left."""
    done = subprocess.run([sys.executable, "-c", DEAD, str(out), *key], stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def test_names_are_random_private_and_gone_at_the_end(tmp_path):
    with PartFile(tmp_path / "a.mp4") as one, PartFile(tmp_path / "b.mp4") as two:
        assert one.path.parent != two.path.parent
        for part in (one, two):
            assert part.path.parent.stat().st_mode & 0o777 == 0o700 and len(part.path.parent.name) == 30
            part.path.write_text("x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_what_dead_processes_left_is_swept_by_the_next(tmp_path):
    left = dead(tmp_path / "other.mp4")
    assert left.is_dir()
    with PartFile(tmp_path / "a.mp4") as part:
        part.path.write_text("x")
    assert not left.exists() and not leftovers(tmp_path)


def test_pieces_stay_for_a_week_and_no_longer(tmp_path):
    left = dead(tmp_path / "film.mp4", "key")
    with PartFile(tmp_path / "a.mp4"):
        pass
    assert left.exists()
    os.utime(left, (time.time() - 8 * 86400,) * 2)
    with PartFile(tmp_path / "a.mp4"):
        pass
    assert not left.exists()
    left = dead(tmp_path / "film.mp4", "key")
    assert sweep(tmp_path, everything=True) == [left] and not left.exists()


@pytest.mark.parametrize("locked", [False, True])
def test_what_was_killed_as_it_began_is_swept_at_once(tmp_path, locked):
    left = tmp_path / f".emotalk-{'b' * 16}.work"
    left.mkdir(0o700)
    if locked:
        (left / "lock").touch()
    with PartFile(tmp_path / "a.mp4") as part:
        part.path.write_text("x")
    assert not left.exists() and not leftovers(tmp_path)


@pytest.mark.parametrize("moment", ["open", "lock"])
def test_a_folder_that_is_swept_as_it_begins_is_made_again(tmp_path, monkeypatch, moment):
    owner, name = (files.os, "open") if moment == "open" else (files.system, "lock")
    real, swept = getattr(owner, name), []

    def slow(*args, **options):
        if not swept and (moment == "lock" or str(args[0]).endswith("lock")):
            swept.append(True)
            swept.extend(sweep(tmp_path))
        return real(*args, **options)

    monkeypatch.setattr(owner, name, slow)
    with PartFile(tmp_path / "a.mp4") as part:
        assert len(swept) == 2 and swept[1] != part.path.parent
        part.path.write_text("x")
    assert (tmp_path / "a.mp4").read_text() == "x" and not leftovers(tmp_path)


def test_a_living_process_keeps_its_own(tmp_path):
    space = Workspace(tmp_path / "film.mp4")
    assert sweep(tmp_path, everything=True) == [] and space.path.is_dir()
    with pytest.raises(UsageError, match="being made by another"):
        PartFile(tmp_path / "film.mp4")
    with PartFile(tmp_path / "film2.mp4"):
        pass
    space.remove()


@pytest.mark.parametrize("trap", ["link", "dangling", "folder", "fifo", "file", "of another kind"])
def test_traps_under_names_of_ours(tmp_path, trap):
    """Whatever lies there under such a name: nothing outside is touched, and we go on."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("thesis.txt", "lock", "000000.mp4", "part.mp4"):
        (home / name).write_text("precious")
    shared = tmp_path / "shared"
    shared.mkdir()
    for name in (f".emotalk-{'0' * 16}.work", f".emotalk-{'a' * 12}.part", f".emotalk-{'a' * 12}.work"):
        path = shared / name
        if trap == "link":
            (home / "manifest.json").write_text(json.dumps({"emotalk": 1, "out": "a.mp4", "key": None, "pieces": []}))
            path.symlink_to(home)
        elif trap == "dangling":
            path.symlink_to(tmp_path / "nowhere")
        elif trap == "folder":
            path.mkdir()
            (path / "thesis.txt").write_text("precious")
        elif trap == "fifo":
            os.mkfifo(path)
        elif trap == "file":
            path.write_text("precious")
        else:
            path.mkdir()
            for link in ("lock", "manifest.json", "part.mp4"):
                (path / link).symlink_to(home / "thesis.txt")
    for everything in (False, True):
        sweep(shared, everything)
    with PartFile(shared / "a.mp4") as part:
        part.path.write_text("x")
    with SegmentedWriter(shared / "b.mp4", SIZE, 5, None, 4, 2, "key", resume=True) as writer:
        for _ in range(4):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    assert (shared / "a.mp4").exists() and len(video_frames(shared / "b.mp4", SIZE)) == 4
    for name in ("thesis.txt", "lock", "000000.mp4", "part.mp4"):
        assert (home / name).read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    if trap == "folder":
        assert (shared / f".emotalk-{'0' * 16}.work" / "thesis.txt").read_text() == "precious"


def test_tries_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 2 * count)
    (tmp_path / f".emotalk-{'0' * 16}.work").mkdir()
    (tmp_path / f".emotalk-{'0' * 16}.work" / "thesis.txt").touch()
    with pytest.raises(EmoTalkError, match="could not be written"):
        PartFile(tmp_path / "a.mp4")


# -- pieces that change on disk ---------------------------------------------------------------------------------


def shades(count: int) -> list[np.ndarray]:
    return [np.full((64, 64, 3), 20 + 10 * n, np.uint8) for n in range(count)]


def interrupted(folder: Path) -> Path:
    """Two of four pieces of five frames each; returns their folder."""
    write_wav(folder / "a.wav", np.zeros(16000 * 4))
    with pytest.raises(KeyboardInterrupt), SegmentedWriter(*arguments(folder)) as writer:
        for frame in shades(20)[:12]:
            writer.write(frame)
        raise KeyboardInterrupt
    (left,) = folder.glob(".emotalk-*")
    return left


def arguments(folder: Path) -> tuple:
    return folder / "a.mp4", SIZE, 5, folder / "a.wav", 20, 5, "key"


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


DAMAGE = {
    "first cut": lambda left: cut(left / "000000.mp4", 0.5),
    "second cut": lambda left: cut(left / "000001.mp4", 0.9),
    "bits": lambda left: flip(left / "000000.mp4"),
    "zeroed": lambda left: (left / "000001.mp4").write_bytes(bytes((left / "000001.mp4").stat().st_size)),
    "empty": lambda left: (left / "000000.mp4").write_bytes(b""),
    "gone": lambda left: (left / "000000.mp4").unlink(),
    "swapped": lambda left: (left / "000000.mp4").write_bytes((left / "000001.mp4").read_bytes()),
    "a link": lambda left: ((left / "000000.mp4").unlink(), (left / "000000.mp4").symlink_to("/etc/passwd")),
    "a pipe": lambda left: ((left / "000000.mp4").unlink(), os.mkfifo(left / "000000.mp4")),
    "manifest": lambda left: (left / "manifest.json").write_text('{"emotalk": 1, "out": "a.mp4", "key": "key"}'),
}


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    write_wav(folder / "a.wav", np.zeros(16000 * 4))
    with SegmentedWriter(*arguments(folder)) as writer:
        for frame in shades(20):
            writer.write(frame)
    return (folder / "a.mp4").read_bytes()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_pieces_are_made_again(undamaged, tmp_path, damage):
    DAMAGE[damage](interrupted(tmp_path))
    with SegmentedWriter(*arguments(tmp_path), resume=True) as writer:
        assert writer.done == (5 if damage in ("second cut", "zeroed") else 0)
        for frame in shades(20)[writer.done :]:
            writer.write(frame)
    assert (tmp_path / "a.mp4").read_bytes() == undamaged
    assert not leftovers(tmp_path)


def test_a_piece_damaged_meanwhile_is_not_joined(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(16000 * 4))
    with pytest.raises(EmoTalkError, match="with --resume"), SegmentedWriter(*arguments(tmp_path)) as writer:
        for frame in shades(20):
            writer.write(frame)
        flip(writer._paths[2])
    assert not (tmp_path / "a.mp4").exists()
    with SegmentedWriter(*arguments(tmp_path), resume=True) as writer:
        assert writer.done == 10
        for frame in shades(20)[10:]:
            writer.write(frame)
    assert len(video_frames(tmp_path / "a.mp4", SIZE)) == 20


def test_messages_name_the_video_and_not_its_hidden_folder(tmp_path):
    with pytest.raises(EmoTalkError) as caught, SegmentedWriter(*arguments(tmp_path)[:3], None, 20, 5, "key") as writer:
        writer.write(shades(1)[0])
        writer._piece._child.process.kill()
        for frame in shades(10) * 20:
            writer.write(frame)
    assert ".emotalk-" not in str(caught.value)
