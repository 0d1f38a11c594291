"""Commands on two workers: byte for byte what one process makes, whoever is killed in between."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphs.partial_folder import PartialFolder
from tests.emulator.foundation.test_workers import descendants
from tests.meshcast.command_line import done, start
from tests.meshcast.conftest import SIMULATION, weather, weather_forecast
from tests.meshcast.test_interrupted import AT_CALL
from tests.stores import digests
from tests.time_limits import HUNG

DATASET = ("dataset", "weather.nc", "--output", "new.zarr")
SIMULATE = ("simulate", "simulation.yaml", "output=new.zarr", "--threads", "1")
PARTS = {
    "emulator.data.datasets.create.PART_BYTES": 1,
    "emulator.data.datasets.create.MAX_CHUNK_DATES": 6,
    "emulator.physics.simulate.VALUES_TOGETHER": 48,
    "inference.scores.verification.CHUNK_VALUES": 100,
}  # a dataset in parts of six dates, a simulation two trajectories at a time, scores of a few fields
BEFORE = "import emulator.data.datasets.create, emulator.physics.simulate, inference.scores.verification\n" + "".join(
    f"{name} = {value}\n" for name, value in PARTS.items()
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in PARTS.items():
        monkeypatch.setattr(name, value)
    monkeypatch.chdir(tmp_path)
    Path("simulation.yaml").write_text(SIMULATION)
    weather().to_netcdf("weather.nc")
    yield


def whole(command: tuple[str, ...]) -> dict[str, bytes]:
    """Return the bytes of what a command writes in one process, and take that away."""
    done(*command)
    found = digests("new.zarr")
    shutil.rmtree("new.zarr")
    return found


@pytest.mark.parametrize("command", [DATASET, SIMULATE], ids=["dataset", "simulate"])
def test_two_workers_write_the_bytes_of_one_though_one_is_killed(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, killed, finish = whole(command), [], PartialFolder.finish
    done(*command, "--workers", "2")
    assert digests("new.zarr") == one

    def killing(*arguments: Any, **options: Any) -> None:
        if not killed:
            lines = {process: Path(f"/proc/{process}/cmdline").read_bytes() for process in descendants(os.getpid())}
            if workers := [process for process, line in lines.items() if b"spawn_main" in line]:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
        finish(*arguments, **options)

    monkeypatch.setattr(PartialFolder, "finish", killing)
    done(*command, "--workers", "2", "--overwrite")
    assert killed and digests("new.zarr") == one


@pytest.mark.parametrize("command", [DATASET, SIMULATE], ids=["dataset", "simulate"])
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "on two workers"])
def test_a_killed_command_goes_on_with_its_parts(command: tuple[str, ...], workers: tuple[str, ...]) -> None:
    one = whole(command)
    module, name, place = "graphs.partial_folder", "PartialFolder", "PartialFolder.finish"
    source = BEFORE + AT_CALL.format(module=module, name=name, place=place, call=4, signal="SIGKILL")
    process = start(*command, *workers, before=source)
    process.communicate(timeout=HUNG)
    assert process.returncode == -signal.SIGKILL and not Path("new.zarr").exists()
    assert len(list(Path("new.zarr.parts").glob("*.done"))) == 3
    assert "Going on with the parts" in done(*command).err
    assert digests("new.zarr") == one and not list(Path().glob("*part*"))


def test_scores_are_the_same_on_two_workers_and_of_a_forecast_that_is_read_later(
    weather_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = "2019-03-01T12, 2019-03-02T00, 2019-03-02T06"
    done(*weather_forecast("6h"), "--members", "2", "--perturb", "0.1", "--init-times", starts, "--output", "f.nc")
    command = ("verify", "f.nc", "--truth", "weather.zarr", "--json")
    one = done(*command).out
    assert done(*command, "--workers", "2").out == one
    monkeypatch.setattr("emulator.data.forecast_netcdf.STREAMED_BYTES", 0)
    monkeypatch.setattr("emulator.data.forecast_values.LATER_BYTES", 1)
    assert done(*command).out == one
    assert done(*command, "--workers", "2").out == one
