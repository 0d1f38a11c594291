"""Forecasts into files: broken off and taken up again, with members and stops, wherever the emulator runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from emulator.build import TrainedEmulator
from emulator.data.forecast_file import partial_file, read_forecast
from emulator.data.starts import InitialConditions
from emulator.forcings import Forcings
from emulator.foundation.low_precision import Precision
from emulator.foundation.threads import num_threads
from emulator.networks.gnn import GNNConfig
from emulator.normalise import Statistics
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.forecasts.forecast import forecast as forecast_in_memory
from inference.forecasts.write_forecast import ForecastOptions, write_forecast
from tests.emulator.worlds import WAVES, fitted, starting_from, wave_fields
from tests.locks import held_by_another
from tests.threads import assert_threads_given_or_measured


class Growing(nn.Module):
    """Waves that grow by two fifths a step: the guard stops the larger first. It refuses states of another place."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__()
        self.task: Task = WAVES
        self.mesh = mesh
        self.place = torch.float32

    def step(self, state: State, forcing: torch.Tensor, generator: torch.Generator | None = None):
        assert state.values.dtype == self.place, "a state that is not where the emulator runs"
        return state.followed_by(1.4 * state.now, self.task.time_step.advance(state.valid_time)), None


def growing_waves() -> tuple[TrainedEmulator, InitialConditions]:
    fields = wave_fields()
    trained = TrainedEmulator("growing", Growing(fields.mesh), GNNConfig(), Statistics.of(fields, ("u",)))
    return trained, InitialConditions(starting_from(fields, WAVES, [0, 3]), np.full(2, -1), {})


def test_a_forecast_taken_up_again_is_the_whole_one_members_stops_and_device_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = wave_fields()
    state = starting_from(fields, WAVES, [0, 3])
    state = State(state.values * torch.tensor([1.3, 0.4])[:, None, None, None, None], state.valid_time)
    initial = InitialConditions(state, np.full(2, -1), {})
    emulator = Growing(fields.mesh)
    trained = TrainedEmulator("growing", emulator, GNNConfig(), Statistics.of(fields, ("u",)))
    # Double precision stands for another device, which the machine of a test may not have.
    monkeypatch.setattr(State, "to", lambda self, device: State(self.values.double(), self.valid_time))
    emulator.place = torch.float64
    options = ForecastOptions(members=3, perturb=0.02, device="cpu:0")

    def forecast(name: str, resume: bool = False, until: int = 99) -> list[str]:
        def interrupt(step: int) -> None:
            if step == until:
                raise KeyboardInterrupt

        output = tmp_path / name
        given = replace(options, resume=resume)
        stops = write_forecast(trained, initial, Forcings(), 6, output, given, interrupt)
        return [str(stop) for stop in stops]

    whole = forecast("whole.nc")
    with pytest.raises(KeyboardInterrupt):
        forecast("broken.nc", until=4)
    assert partial_file(tmp_path / "broken.nc").exists() and not (tmp_path / "broken.nc").exists()
    steps = {int(text.split("step ")[1].split(":")[0]) for text in whole}
    assert min(steps) <= 4 < max(steps)  # some before the break, some after it
    assert sorted(forecast("broken.nc", resume=True)) == sorted(whole)
    first, second = (read_forecast(tmp_path / name).values for name in ("whole.nc", "broken.nc"))
    np.testing.assert_array_equal(first, second)
    assert not partial_file(tmp_path / "broken.nc").exists()


def test_the_stops_of_a_whole_forecast_are_those_of_the_one_that_is_converted(tmp_path: Path) -> None:
    trained, initial = growing_waves()
    stops = write_forecast(trained, initial, Forcings(), 6, tmp_path / "f.zarr.nc")
    again = write_forecast(trained, initial, Forcings(), 6, tmp_path / "f.zarr", ForecastOptions(resume=True))
    assert stops and list(map(str, again)) == list(map(str, stops)) and [one.step for one in again]
    assert [one.name for one in tmp_path.iterdir()] == ["f.zarr"]


def test_a_forecast_states_its_precision_and_goes_on_in_no_other(tmp_path: Path) -> None:
    fields = wave_fields()
    network = fitted(WAVES, fields)
    network.correction_std.fill_(0.1)
    trained = TrainedEmulator("network", network, GNNConfig(), Statistics.of(fields, ("u",)))
    initial = InitialConditions(starting_from(fields, WAVES, [0, 3]), np.full(2, -1), {})

    def forecast(name: str, precision: Precision, resume: bool = False, until: int = 99) -> Path:
        def interrupt(step: int) -> None:
            if step == until:
                raise KeyboardInterrupt

        options = ForecastOptions(guarded=False, resume=resume, precision=precision)
        write_forecast(trained, initial, Forcings(()), 5, tmp_path / name, options, interrupt)
        return tmp_path / name

    whole = read_forecast(forecast("whole.nc", "bfloat16"))
    exact = read_forecast(forecast("exact.zarr", "float32"))
    assert (whole.attributes["precision"], exact.attributes["precision"]) == ("bfloat16", "float32")
    assert read_forecast(forecast("whole.zarr", "bfloat16")).attributes["precision"] == "bfloat16"
    assert not np.array_equal(whole.values, exact.values)
    np.testing.assert_allclose(whole.values, exact.values, atol=0.02, rtol=0)
    np.testing.assert_array_equal(whole.initial, exact.initial)
    in_memory, _ = forecast_in_memory(trained, initial, Forcings(()), 5, precision="bfloat16")
    np.testing.assert_array_equal(in_memory.values, whole.values)
    assert in_memory.attributes["precision"] == "bfloat16"

    for name, broken, other in (("low.nc", "bfloat16", "float32"), ("exact.nc", "float32", "bfloat16")):
        with pytest.raises(KeyboardInterrupt):
            forecast(name, broken, until=2)
        with pytest.raises(MeshcastError, match="of another forecast: its precision differ"):
            forecast(name, other, resume=True)
        again = read_forecast(forecast(name, broken, resume=True))
        np.testing.assert_array_equal(again.values, (whole if broken == "bfloat16" else exact).values)
    forecast("left.grib.nc", "bfloat16").rename(tmp_path / "f.zarr.nc")
    with pytest.raises(MeshcastError, match="of another forecast: its precision differ"):
        forecast("f.zarr", "float32", resume=True)


def test_an_emulator_without_a_network_states_no_precision_and_takes_no_other(tmp_path: Path) -> None:
    trained, initial = growing_waves()
    with pytest.raises(MeshcastError, match="it has no network"):
        write_forecast(trained, initial, Forcings(()), 2, tmp_path / "f.nc", ForecastOptions(precision="bfloat16"))
    assert list(tmp_path.iterdir()) == []
    write_forecast(trained, initial, Forcings(()), 2, tmp_path / "f.nc")
    assert "precision" not in read_forecast(tmp_path / "f.nc").attributes


def test_an_output_that_another_process_writes_is_refused_before_the_rollout(tmp_path: Path) -> None:
    trained, initial = growing_waves()
    with held_by_another(tmp_path / "f.nc"), pytest.raises(MeshcastError, match="is being written by process"):
        write_forecast(trained, initial, Forcings(()), 5, tmp_path / "f.nc", ForecastOptions(overwrite=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [None, 3])
def test_a_forecast_runs_on_the_threads_given_or_those_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int | None
) -> None:
    trained, initial = growing_waves()
    options, output = ForecastOptions(threads=given, guarded=False), tmp_path / "forecast.nc"
    assert_threads_given_or_measured(
        monkeypatch,
        given,
        lambda on_step, notice: write_forecast(trained, initial, Forcings(), 3, output, options, on_step, notice),
    )


def test_a_forecast_is_resumed_on_the_threads_it_had_and_measures_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    trained, initial = growing_waves()
    said: list[str] = []
    seen: dict[int, int] = {}

    def run(options: ForecastOptions, until: int) -> None:
        def on_step(step: int) -> None:
            seen[step] = torch.get_num_threads()
            if step == until:
                raise KeyboardInterrupt

        write_forecast(trained, initial, Forcings(), 4, tmp_path / "forecast.nc", options, on_step, said.append)

    with num_threads(4):
        with pytest.raises(KeyboardInterrupt):
            run(ForecastOptions(threads=3, guarded=False), until=2)
        run(ForecastOptions(resume=True, guarded=False), until=9)
    assert seen == {1: 3, 2: 3, 3: 3, 4: 3} and not said
