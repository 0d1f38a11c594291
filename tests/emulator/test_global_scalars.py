"""Scalars of the whole globe: their values by time and trajectory, and their way through a rollout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.data.sources import FieldsView
from emulator.data.starts import states_at
from emulator.foundation.time_step import TimeStep
from emulator.global_scalars import GlobalScalars
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring

TASK = Task((Variable("t", "prognostic"), Variable("f", "forcing", "W m-2")), TimeStep(10))
MESH = ring(3)


def scalars(*numbers: int, source: str = "the dataset") -> GlobalScalars:
    """Of trajectory n: 100 n at time 0, and one more every second."""
    times = np.array([0, 50], np.int64)
    values = np.stack([100.0 * np.array(numbers) + time for time in times])[..., None]
    return GlobalScalars(("f",), ("W m-2",), times, numbers, values, source)


def fields(*numbers: int, given: GlobalScalars | None = None) -> ArrayFields:
    """Temperatures that are the sum of the forcing so far, a tenth of a second later."""
    given = given or scalars(*numbers)
    times = 10 * np.arange(6)
    rows = [np.cumsum(given.at(times, np.full(6, number))[:, 0]) for number in given.trajectories]
    values = np.broadcast_to(np.stack(rows, axis=1)[..., None, None], (6, len(rows), 3, 1)).astype(np.float32)
    return ArrayFields(
        values, ("t",), ("1",), MESH, TimeStep(10), times, trajectories=list(given.trajectories), scalars=given
    )


class Adder:
    """Adds the forcing at the target time to the temperature."""

    task, mesh = TASK, MESH

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> tuple[State, None]:
        later = self.task.time_step.advance(state.valid_time)
        return State(state.values + forcing[:, None, -1:], later), None  # a step knows no trajectory


def test_values_are_linear_in_time_and_each_trajectory_has_its_own() -> None:
    found = scalars(0, 7).at(np.array([0, 25, 50, 10]), np.array([7, 0, 7, 7]))
    assert found[:, 0].tolist() == [700.0, 25.0, 750.0, 710.0]
    assert scalars(0, 7).of_rows([1]).at(np.array([5]), np.array([7])).item() == 705.0


def test_a_state_without_a_trajectory_has_what_all_have_alike() -> None:
    alike = replace(scalars(0, 1), values=np.array([[[1.0], [1.0]], [[2.0], [2.0]]]))
    assert alike.at(np.array([25]), None).item() == alike.at(np.array([25]), np.array([-1])).item() == 1.5
    with pytest.raises(MeshcastError, match=r"differ from trajectory to trajectory.*--forcing TABLE\.csv"):
        scalars(0, 1).at(np.array([25]), None)


@pytest.mark.parametrize(
    ("time", "number", "said"),
    [
        (60, 0, "but 1970-01-01T00:01:00 to .* are needed"),
        (-1, 0, "cover 1970"),
        (0, 3, "of trajectory 3; it has .*0, 7"),
    ],
)
def test_what_is_not_there_is_refused(time: int, number: int, said: str) -> None:
    with pytest.raises(MeshcastError, match=said):
        scalars(0, 7).at(np.array([time]), np.array([number]))


def test_damaged_scalars_are_refused() -> None:
    good = scalars(0, 7)
    for wrong, said in (
        ({"values": good.values[:1]}, "must have shape"),
        ({"times": np.array([5, 5])}, "must increase"),
        ({"values": np.where(good.values == 750, np.nan, good.values)}, "trajectory 7 .* has no value at .*00:50"),
    ):
        with pytest.raises(MeshcastError, match=said):
            replace(good, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0]])
def test_a_rollout_follows_the_forcing_of_its_own_trajectory(rows: list[int]) -> None:
    data = FieldsView(fields(4, 0, 9), rows=rows)
    cases = np.array([1, 0, 1])
    initial = states_at(data, TASK, np.array([0, 0, 10]), cases)
    forecast = list(rollout(Adder(), initial.state, forcings_of(TASK, MESH, data), 4))
    truth = data.read(slice(0, 6), ["t"])[..., 0, 0]
    for case, first in enumerate((0, 0, 1)):
        ours = [state.values[case, 0, 0, 0, 0].item() for state, _ in forecast]
        assert ours == truth[first + 1 : first + 5, cases[case]].tolist()
    assert forecast[-1][0].trajectory is not None


def test_a_training_part_gives_each_trajectory_its_own_forcing() -> None:
    data = fields(4, 0, 9)
    part = TrainingPart(data, ensemble=[0, 2], forcings=forcings_of(TASK, MESH, data))
    errors, numbers = [], []
    for state, following in part.steps(TASK):
        stepped, _ = Adder().step(state, part.provider.window(state, TASK, 0))
        errors.append((stepped.now - following).abs().max().item())
        numbers.append(int(state.trajectory[0]))  # type: ignore[index]
    assert errors == [0.0, 0.0] and numbers == [4, 9]
    alike = fields(4, 0, given=replace(scalars(4, 0), values=np.ones((2, 2, 1))))
    (both,) = TrainingPart(alike, forcings=forcings_of(TASK, MESH, alike)).steps(TASK)
    assert both[0].values.shape[1] == 2  # as members, which takes one pass
    unforced = Task((Variable("t", "prognostic"),), TimeStep(10))
    (both,) = TrainingPart(data).steps(unforced)
    assert both[0].values.shape[1] == 3  # what no step sees parts nobody
