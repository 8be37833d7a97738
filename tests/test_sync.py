"""The measure of lips against sound, on landmarks of known motion."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emotalk_cli.evaluation import sync


def face(opening: np.ndarray, width: np.ndarray | float = 0.6) -> np.ndarray:
    """Landmarks [T,478,2] px of a still face, 100 px between the outer eye corners, lips parted by `opening`."""
    points = np.zeros((len(opening), 478, 2))
    points[:, 33], points[:, 263] = (0, 0), (100, 0)
    points[:, 234], points[:, 454] = (-20, 40), (120, 40)
    points[:, 13, 1], points[:, 14, 1] = 80, 80 + 100 * opening
    points[:, 61, 0], points[:, 291, 0] = 50 - 50 * np.asarray(width), 50 + 50 * np.asarray(width)
    return points


def test_shape_counts_in_eye_distances():
    measured = sync.shape(face(np.array([0.0, 0.1]), np.array([0.5, 0.7])))
    np.testing.assert_allclose(measured, [[0, 0.5], [0.1, 0.7]])


@pytest.mark.parametrize("late", [-2, 0, 3])
def test_lag_is_found(late):
    series = np.random.default_rng(0).standard_normal(100)
    rolled = np.roll(series, late)
    by_lag = {lag: sync.lagged(rolled, series, lag) for lag in sync.LAGS}
    assert max(by_lag, key=by_lag.get) == late and by_lag[late] > 0.9


def test_jitter_sees_trembling_and_not_motion():
    smooth = face(np.linspace(0, 0.2, 50))
    assert sync.jitter(smooth, sync.LIPS) < 1e-9
    trembling = face(np.linspace(0, 0.2, 50) + 0.02 * (np.arange(50) % 2))
    assert sync.jitter(trembling, sync.LIPS) == pytest.approx(1000 * 0.04 * 100 / 140 / len(sync.LIPS) / 2, rel=0.01)


def test_report_counts_closures_vowels_and_quiet(tmp_path, monkeypatch):
    times = (np.arange(50) + 0.5) / 25
    spoken = np.where(times < 1, 0.1, 0.0)  # open for a second, then closed
    made = {"grid-a": spoken, "emodb-b": spoken, "silence": np.full(25, 0.002), "noise": np.full(25, 0.01)}
    (tmp_path / "neutral").mkdir()
    for name in made:
        (tmp_path / "neutral" / f"{name}.mp4").touch()
    said = [(0.4, 0.5, "a"), (0.3, 0.4, "m"), (1.2, 1.3, "m"), (1.0, 1.04, "b"), (0.6, 0.7, "u"), (0.7, 0.8, "i")]
    phones = {name: {"alphabet": "sampa", "phones": said if name == "emodb-b" else []} for name in made}
    (tmp_path / "phones.json").write_text(json.dumps(phones))

    class Tracked:
        index = np.arange(478)

        def __init__(self, data):
            pass

        def __getitem__(self, name):
            return face(spoken, 0.6 + 0.05 * np.sin(times))

    monkeypatch.setattr(sync, "Tracked", Tracked)
    monkeypatch.setattr(
        sync, "track", lambda video, model: face(made[video.stem], 0.6 + 0.05 * np.sin(times[: len(made[video.stem])]))
    )
    row = sync.measure(tmp_path, tmp_path)["neutral"]
    assert row["r_opening"] == pytest.approx(1) and row["lag"] == 0
    assert row["closed"] == pytest.approx(2 / 3) and row["open_vowels_closed"] == row["false_closures"] == 0
    assert row["opening_on_open_vowels"] == pytest.approx(0.098) and row["noise_music"] == pytest.approx(0.008)
    assert abs(row["w_u_narrower"]) < 0.2
    assert row["silence"] == pytest.approx(0) and row["jitter_lips"] == pytest.approx(
        sync.measure(tmp_path, tmp_path)["tracked"]["jitter_lips"]
    )
    assert "| neutral | 1 | 1 |" in sync.table({"neutral": {"r_opening": 1.0, "r_width": 1.0}})
