"""A forecast over several processes is that of one, guard and all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.build import TrainedEmulator, load_emulator, save_emulator
from emulator.data.forecast_file import read_forecast
from graphs.errors import MeshcastError
from meshcast.main import app
from tests.processes import in_processes
from tests.training.sphere_world import SphereData, sphere_experiment, write_sphere
from training.preparation.prepared import prepare
from training.runs.fit import untrained_on_threads


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An emulator, drawn at random but for its scales, and a dataset to start from."""
    import torch

    folder = tmp_path_factory.mktemp("split")
    prepared = prepare(sphere_experiment(), SphereData())
    with untrained_on_threads(prepared) as untrained:
        with torch.no_grad():
            untrained.emulator.network.decoder[-1].weight.normal_(std=0.1)  # type: ignore[union-attr,index]
        trained = prepared.trained(untrained.emulator, untrained.config.emulator)
        save_emulator(folder / "emulator.safetensors", trained)
    write_sphere(folder / "start.zarr", 1)
    return folder


def forecast(folder: Path, output: str, shards: int = 1, *further: str) -> None:
    """`meshcast forecast` of three cases with two members each."""
    named = {"--initial": "start.zarr", "--output": output, "--lead-time": "4h", "--members": "2", "--perturb": "0.1"}
    named["--init-times"] = "2021-03-01T02/2021-03-01T06/2h"
    paths = {key: str(folder / value) if key in ("--initial", "--output") else value for key, value in named.items()}
    arguments = ["forecast", str(folder), *(part for pair in paths.items() for part in pair), *further]
    app([*arguments, "--shards", str(shards)], standalone_mode=False)


def over(shards: int, folder: Path, output: str, *further: str) -> None:
    def run(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(shards)}
        forecast(folder, output, shards, *further)

    in_processes(shards, run)


def assert_equal(folder: Path, one: str, two: str) -> None:
    first, second = (read_forecast(folder / name) for name in (one, two))
    assert first.attributes.get("stops") == second.attributes.get("stops")
    np.testing.assert_array_equal(np.isnan(first.values), np.isnan(second.values))
    largest = np.nanmax(np.abs(first.values), axis=(0, 1, 2, 3))
    np.testing.assert_allclose(
        second.values / largest, first.values / largest, rtol=0, atol=1e-5
    )  # rounding, of four steps


def test_two_processes_write_the_forecast_of_one(folder: Path) -> None:
    forecast(folder, "whole.nc", 1, "--no-guard")
    over(2, folder, "split.nc", "--no-guard")
    assert_equal(folder, "whole.nc", "split.nc")
    found = read_forecast(folder / "split.nc")
    means = found.values[..., found.variables.index("h")].astype(np.float64) @ found.mesh.areas  # [case, member, lead]
    assert np.abs(means - means[..., :1]).max() < 1e-8, "a conserved mean is that of all nodes, to a digit of one"


def narrow(trained: TrainedEmulator) -> TrainedEmulator:
    """The same, trained on a narrow range of one variable, so that the guard stops some cases."""
    statistics = trained.statistics
    column = statistics.names.index("h")
    maximum = statistics.maximum.copy()
    maximum[column] = 10.0 + 0.32 * (maximum[column] - 10.0)
    return replace(trained, statistics=replace(statistics, maximum=maximum))


@pytest.mark.slow
def test_the_guard_stops_the_same_members_over_three_processes(folder: Path, tmp_path: Path) -> None:
    save_emulator(tmp_path / "emulator.safetensors", narrow(load_emulator(folder)))
    write_sphere(tmp_path / "start.zarr", 1)
    for name, run in (
        ("whole.nc", lambda: forecast(tmp_path, "whole.nc")),
        ("split.nc", lambda: over(3, tmp_path, "split.nc")),
    ):
        try:
            run()
        except Exception as error:
            assert "Exit" in repr(error) or "Exit" in str(error), name
    assert "stopped" in read_forecast(tmp_path / "whole.nc").attributes["stops"]
    assert_equal(tmp_path, "whole.nc", "split.nc")


def test_what_several_processes_do_not_do_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MeshcastError, match=r"needs 2 of them, but 1 were started.*torchrun --nproc-per-node 2"):
        forecast(folder, "none.nc", 2)
    with pytest.raises(AssertionError, match=r"goes without --resume"):
        over(2, folder, "none.nc", "--resume")
    assert not list(folder.glob("*none*"))
