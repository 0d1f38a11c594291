"""Work that is broken off leaves no half file under a final name, and goes on where it was, bit for bit."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.checkpoint import read
from emulator.data.datasets import create
from emulator.data.forecast_file import ForecastWriter
from tests.meshcast.command_line import contents, done, interrupting, meshcast, start
from tests.meshcast.conftest import comparison, weather_forecast
from tests.time_limits import HUNG
from training.optimisation.module import EmulatorModule

FORECAST = (*weather_forecast("8h"), "--members", "3", "--perturb", "0.1",
            "--init-times", "2019-03-01T12, 2019-03-02T00", "--output")  # fmt: skip
AT_CALL = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs inherit as ignored
from {module} import {name}
def broken(function, count=[0]):
    def call(*arguments, **options):
        count[0] += 1
        if count[0] == {call}:
            os.kill(os.getpid(), signal.{signal})
        return function(*arguments, **options)
    return call
{place} = broken({place})
"""


def break_off(place: str, call: int, signal_name: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command whose process gets a signal at the `call`-th call of a function."""
    module, name, *attribute = place.split(":")
    source = AT_CALL.format(module=module, name=name, place=".".join([name, *attribute]), call=call, signal=signal_name)
    process = start(*arguments, before=source)
    _, err = process.communicate(timeout=HUNG)
    return process.returncode, err


@pytest.fixture(scope="module")
def whole_run(_ring: Path) -> dict[str, np.ndarray]:
    """The weights of the run nobody interrupted."""
    return {name: array.numpy() for name, array in read(_ring / "runs/ring/emulator.safetensors")[0].items()}


def assert_same_forecast(first: str, second: str) -> None:
    one, other = (xr.open_dataset(name, decode_timedelta=False) for name in (first, second))
    for file in (one, other):
        file.attrs.pop("history")  # when it was written
    assert one.identical(other)


@pytest.mark.parametrize(
    "command",
    [("simulate", "simulation.yaml", "output=new.zarr"), ("dataset", "weather.nc", "--output", "new.zarr")],
)
def test_an_interrupted_dataset_leaves_nothing(request, monkeypatch, command):
    request.getfixturevalue("ring_world" if command[0] == "simulate" else "weather_world")
    before = contents()
    with monkeypatch.context() as patch:
        patch.setattr(create, "describe", interrupting(create.describe, 1))
        outcome = meshcast(*command)
    assert outcome.code == 130 and "Interrupted" in outcome.err and contents() == before
    done(*command)


def test_a_dataset_that_is_being_replaced_survives_an_interruption(weather_world, monkeypatch):
    before = contents()
    monkeypatch.setattr(create, "describe", interrupting(create.describe, 1))
    assert meshcast("dataset", "weather.nc", "--output", "weather.zarr", "--overwrite").code == 130
    assert contents() == before


@pytest.mark.parametrize("call", [1, 6])
def test_an_interrupted_training_continues_to_the_same_weights(ring_world, monkeypatch, whole_run, call):
    shutil.rmtree("runs")
    with monkeypatch.context() as patch:
        patch.setattr(EmulatorModule, "training_step", interrupting(EmulatorModule.training_step, call))
        outcome = meshcast("train", "ring.yaml")
    assert outcome.code == 130 and "resume=auto" in outcome.err
    assert not list(Path("runs/ring").glob("*part*")) and not Path("runs/ring/done.json").exists()
    assert Path("runs/ring/last.ckpt").exists() == (call > 4)
    assert meshcast("train", "ring.yaml").code == 2
    done("train", "ring.yaml", "resume=auto")
    arrays, _ = read("runs/ring/emulator.safetensors")
    assert arrays.keys() == whole_run.keys()
    assert all(np.array_equal(array.numpy(), whole_run[name]) for name, array in arrays.items())


@pytest.mark.parametrize("call", [1, 2, 5])
def test_an_interrupted_forecast_is_resumed_bit_for_bit(weather_world, monkeypatch, call):
    done(*FORECAST, "whole.nc")
    with monkeypatch.context() as patch:
        patch.setattr(ForecastWriter, "append", interrupting(ForecastWriter.append, call))
        outcome = meshcast(*FORECAST, "new.nc")
    assert outcome.code == 130 and "--resume" in outcome.err and not Path("new.nc").exists()
    again = meshcast(*FORECAST, "new.nc")
    assert again.code == 2 and "new.nc.part is an interrupted forecast" in again.err and "--resume" in again.err
    other = meshcast(*FORECAST, "new.nc", "--resume", "--seed", "5")
    assert other.code == 2 and "of another forecast: its seed differ" in other.err
    done(*FORECAST, "new.nc", "--resume")
    assert_same_forecast("whole.nc", "new.nc")
    assert not Path("new.nc.part").exists()


def test_an_interrupted_grib_forecast_is_resumed_too(weather_world, monkeypatch):
    done(*FORECAST, "whole.grib")
    with monkeypatch.context() as patch:
        patch.setattr(ForecastWriter, "append", interrupting(ForecastWriter.append, 3))
        assert meshcast(*FORECAST, "new.grib").code == 130
    done(*FORECAST, "new.grib", "--resume")
    assert Path("new.grib").read_bytes() == Path("whole.grib").read_bytes()
    assert [path.name for path in Path().glob("new*")] == ["new.grib"]


@pytest.mark.slow  # fast: what an earlier interruption left, in tests/emulator/data/datasets/test_create.py
def test_a_killed_simulation_leaves_no_dataset_and_is_made_anew(ring_world):
    command = ("simulate", "simulation.yaml", "output=new.zarr")
    code, _ = break_off("emulator.data.datasets:create:describe", 1, "SIGKILL", *command)
    assert code == -signal.SIGKILL and not Path("new.zarr").exists()
    done(*command)
    assert not [path for path in Path().iterdir() if "part" in path.name]


def test_a_killed_training_continues_to_the_same_weights(ring_world, whole_run):
    shutil.rmtree("runs")
    code, _ = break_off("training.optimisation.module:EmulatorModule:training_step", 7, "SIGKILL", "train", "ring.yaml")
    assert code == -signal.SIGKILL
    done("inspect", "runs/ring")
    done("train", "ring.yaml", "resume=auto")
    arrays, _ = read("runs/ring/emulator.safetensors")
    assert all(np.array_equal(array.numpy(), whole_run[name]) for name, array in arrays.items())


@pytest.mark.slow
def test_a_killed_comparison_ends_with_the_same_table(ring_world):
    """Killed in a trial, and again in a run: scores, choices and trials are those of one that ran through."""
    network = "{kind: gnn, processor: {kind: kernel, num_layers: 1, latent_size: 8, hidden_size: 8}}"
    more = "tuning: {learning_rate: [1.0e-3, 1.0e-2], updates: 4}\nseeds: [0, 1]\n"
    Path("compare.yaml").write_text(comparison("table", f"  network: {{emulator: {network}}}\n") + more)
    whole = done("compare", "compare.yaml", "--json").json
    again = ("compare", "compare.yaml", "output=again", "results=results-again")
    for call in (6, 5):  # the second trial's second update, and the first run's after a trial's last two
        code, _ = break_off("training.optimisation.module:EmulatorModule:training_step", call, "SIGKILL", *again)
        assert code == -signal.SIGKILL
    found = done(*again, "--json").json
    assert found["lines"] == whole["lines"] and found["rmse"] == whole["rmse"]
    chosen = [[(t["settings"], t["score"], t["chosen"]) for t in table["tuning"]] for table in (whole, found)]
    assert chosen[0] == chosen[1]


@pytest.mark.slow  # fast: the file that a killed process leaves, in tests/emulator/data/test_forecast_file.py
def test_a_killed_forecast_is_resumed_bit_for_bit(weather_world):
    done(*FORECAST, "whole.nc")
    code, _ = break_off("emulator.data.forecast_file:ForecastWriter:append", 4, "SIGKILL", *FORECAST, "new.nc")
    assert code == -signal.SIGKILL and not Path("new.nc").exists()
    done(*FORECAST, "new.nc", "--resume")
    assert_same_forecast("whole.nc", "new.nc")


def test_ctrl_c_reaches_a_training_in_a_process_of_its_own(ring_world):
    shutil.rmtree("runs")
    code, err = break_off(
        "training.optimisation.module:EmulatorModule:training_step", 6, "SIGINT", "train", "ring.yaml"
    )
    assert code == 130 and "Interrupted" in err and "Traceback" not in err, err
    assert not list(Path("runs/ring").glob("*part*"))
