"""Lead times between the steps of an emulator: in files, broken off and taken up again, and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch

from emulator.build import TrainedEmulator
from emulator.data.forecast_file import read_forecast
from emulator.data.output_choice import OutputChoice
from emulator.data.starts import InitialConditions
from emulator.forcings import Forcings
from emulator.networks.gnn import GNNConfig
from emulator.normalise import Statistics
from emulator.state import State
from graphs.errors import MeshcastError
from inference.forecasts.forecast import forecast
from inference.forecasts.write_forecast import ForecastOptions, write_forecast
from tests.emulator.test_between import between
from tests.emulator.worlds import SMALL, WAVES, fitted, starting_from, wave_fields

PARTS = 4
TASK = replace(WAVES, time_step=WAVES.time_step.times(PARTS), history=2)


def waves(with_between: bool = True, growth: float = 0.1) -> tuple[TrainedEmulator, InitialConditions]:
    """Waves of two cases, which grow by a tenth a step, and more between."""
    fields = wave_fields()
    emulator = fitted(TASK, fields, zero=True)
    emulator.network.register_forward_hook(lambda module, given, out: growth * given[0][..., 1:2])
    made = between(emulator) if with_between else None
    statistics = Statistics.of(fields, ("u",))
    trained = TrainedEmulator("waves", emulator, GNNConfig(processor=SMALL), statistics, between=made)
    state = starting_from(fields, TASK, [0, 3])
    state = State(state.values * torch.tensor([1.5, 0.4])[:, None, None, None, None], state.valid_time)
    return trained, InitialConditions(state, np.full(2, -1), {})


def test_whole_steps_are_those_of_a_forecast_without_any_between(tmp_path: Path) -> None:
    trained, initial = waves(growth=0.01)
    write_forecast(trained, initial, Forcings(), 2, tmp_path / "f.nc", ForecastOptions(parts=PARTS, guarded=False))
    finer, (whole, _) = read_forecast(tmp_path / "f.nc"), forecast(trained, initial, Forcings(), 2)
    assert finer.lead_steps.tolist() == list(range(1, 9)) and finer.time_step == WAVES.time_step
    np.testing.assert_array_equal(finer.values[:, :, PARTS - 1 :: PARTS], whole.values)
    np.testing.assert_array_equal(finer.valid_time[:, PARTS - 1 :: PARTS], whole.valid_time)
    assert not np.isin(finer.values[:, :, PARTS], whole.values).any()
    in_memory, _ = forecast(trained, initial, Forcings(), 2, parts=PARTS)
    np.testing.assert_array_equal(in_memory.values, finer.values)
    with netCDF4.Dataset(tmp_path / "f.nc") as file:
        assert file["interpolated"][:].tolist() == [1, 1, 1, 0] * 2
        assert file["interpolated"].flag_meanings == "step_of_the_emulator between_its_steps"
    options = ForecastOptions(parts=PARTS, guarded=False, choice=OutputChoice(every=2))
    write_forecast(trained, initial, Forcings(), 2, tmp_path / "half.zarr", options)
    half = read_forecast(tmp_path / "half.zarr")
    np.testing.assert_array_equal(half.values, finer.values[:, :, 1::2])


@pytest.mark.parametrize("until", [3, 4, 6, 9, 10, 11])
def test_it_is_taken_up_again_within_a_step_with_the_same_members_stopped(tmp_path: Path, until: int) -> None:
    trained, initial = waves()
    options = ForecastOptions(members=3, perturb=0.05, parts=PARTS)

    def written(name: str, resume: bool = False, last: int = 99) -> list[str]:
        def interrupt(lead: int) -> None:
            if lead == last:
                raise KeyboardInterrupt

        given = replace(options, resume=resume)
        stops = write_forecast(trained, initial, Forcings(), 4, tmp_path / name, given, interrupt)
        return sorted(map(str, stops))

    whole = written("whole.nc")
    assert {int(text.split("step ")[1].split(":")[0]) % PARTS for text in whole} - {0}, "none stopped within a step"
    with pytest.raises(KeyboardInterrupt):
        written("broken.nc", last=until)
    assert written("broken.nc", resume=True) == whole
    first, second = (read_forecast(tmp_path / name).values for name in ("whole.nc", "broken.nc"))
    np.testing.assert_array_equal(first, second)


def test_without_a_network_and_with_sums_it_is_refused(tmp_path: Path) -> None:
    trained, initial = waves(with_between=False)
    with pytest.raises(MeshcastError, match="waves has no network for states between its steps of 4 frame"):
        write_forecast(trained, initial, Forcings(), 2, tmp_path / "f.nc", ForecastOptions(parts=PARTS))
    trained, initial = waves()
    options = ForecastOptions(parts=PARTS, choice=OutputChoice(accumulate=("u",)))
    with pytest.raises(MeshcastError, match="u cannot be accumulated between steps"):
        write_forecast(trained, initial, Forcings(), 2, tmp_path / "f.nc", options)
    assert not list(tmp_path.iterdir())
