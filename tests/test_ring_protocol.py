"""The ring protocol's script on another solver's arrays, and the climate of long forecasts beside the truth's."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
EDGES = np.linspace(-4.0, 4.0, 401)


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import ring_protocol

    monkeypatch.setattr(ring_protocol, "LONG", 210)
    return ring_protocol


@pytest.fixture
def ring_climate(protocol: ModuleType) -> ModuleType:
    import ring_climate

    return ring_climate


def shifted(trajectories: int, frames: int, seed: int) -> NDArray[np.float32]:
    """Waves [trajectory, frame, channel, node] that move three nodes a frame."""
    rng = np.random.default_rng(seed)
    x = 2 * np.pi * np.arange(160) / 160
    first = sum(
        rng.normal(size=(trajectories, 1)) * np.sin(k * x + rng.uniform(0, 6, (trajectories, 1))) for k in (1, 2)
    )
    return np.stack([np.roll(first, 3 * frame, axis=1) for frame in range(frames)], axis=1)[:, :, None].astype(
        np.float32
    )


@pytest.mark.slow
def test_arrays_of_another_solver_are_learned_and_scored(
    protocol: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "diff_adv_train.npy", shifted(50, 12, 0))
    np.save(tmp_path / "diff_adv_test.npy", shifted(2, 201, 1))
    folders = ["--arrays", str(tmp_path), "--folder", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    short = ["training.updates=2", "training.warm_up=1", "validation.every=2", "validation.steps=3"]
    protocol.main([str(ROOT / "configs/ring-protocol.yaml"), *short, "--seeds", "0", "--task", "diff_adv", *folders])
    found = json.loads(capsys.readouterr().out)
    network, ridge, persistence = found["rows"]
    assert found["task"] == "diff_adv" and network["status"] == "done"
    assert network["parameters"]["trainable"] <= 40_000
    moved = shifted(2, 2, 1)[:, :, 0]
    expected = np.mean(np.linalg.norm(moved[:, 1] - moved[:, 0], axis=1) / np.linalg.norm(moved[:, 0], axis=1))
    assert persistence["nrmse"]["1"] == pytest.approx(expected, rel=1e-3)
    assert ridge["score"] < 0.01 < network["score"]
    assert not list((tmp_path / "runs").rglob("train.npy")), "it has made arrays of its own"


def test_a_folder_without_the_arrays_is_named(protocol: ModuleType, tmp_path: Path) -> None:
    from graphs.errors import MeshcastError

    with pytest.raises(MeshcastError, match=r"There is no file .*diff_kdv_train.npy"):
        protocol.main(
            [str(ROOT / "configs/ring-protocol.yaml"), "--task", "diff_kdv", "--arrays", str(tmp_path),
             "--folder", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        )  # fmt: skip


def noise(trajectories: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(200, trajectories, 32))


def test_a_climate_of_larger_waves_differs_by_their_power_and_spread(ring_climate: ModuleType) -> None:
    truth, alive = ring_climate.climate(noise(20, 0), range(200), EDGES), np.ones(20, dtype=bool)
    larger = ring_climate.climate(1.1 * noise(20, 0), range(200), EDGES)
    report = ring_climate.compared(truth, larger, alive, EDGES)
    assert np.allclose(report["spectrum"]["per_cent"], 21.0, atol=0.1)
    assert report["variance_per_cent"] == pytest.approx(21.0, abs=0.1)
    quantiles = dict(zip(report["distribution"]["quantile"], report["distribution"]["per_cent"], strict=True))
    assert quantiles[0.5] == pytest.approx(0.0, abs=0.5) and quantiles[0.95] == pytest.approx(16.4, abs=1.0)
    same = ring_climate.compared(truth, truth, alive, EDGES)
    assert same["spectrum"]["worst_of_those_that_hold_99.9_per_cent"] == same["distribution"]["worst"] == 0.0


def test_sampling_covers_the_difference_of_two_halves_of_one_climate(ring_climate: ModuleType) -> None:
    one, other = (ring_climate.climate(noise(20, seed), range(200), EDGES) for seed in (0, 1))
    report = ring_climate.compared(one, other, np.ones(20, dtype=bool), EDGES)
    for part in (report["spectrum"], report["distribution"]):
        inside = np.abs(part["per_cent"]) <= part["sampling_of_the_difference"]
        assert inside.mean() >= 0.6 and max(part["sampling_of_the_difference"]) < 10


def test_what_the_guard_stopped_counts_for_nothing(ring_climate: ModuleType) -> None:
    fields = noise(20, 0)
    fields[100:, 7] = np.nan
    truth, forecast = (ring_climate.climate(each, range(200), EDGES) for each in (noise(20, 0), fields))
    report = ring_climate.compared(truth, forecast, np.arange(20) != 7, EDGES)
    assert report["spectrum"]["worst_of_those_that_hold_99.9_per_cent"] < 10
    assert ring_climate.compared(truth, forecast, np.zeros(20, dtype=bool), EDGES)["spectrum"] is None
