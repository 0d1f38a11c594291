"""Starts out of a series: histories by time, equal to initial conditions, and none where a date is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emulator.data.initial import initial_conditions
from emulator.data.sources import open_fields
from emulator.data.starts import spread_starts, states_at
from emulator.foundation.time_step import TimeStep
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring
from tests.emulator.worlds import weather_fields

SIX_HOURLY = Task((Variable("2t", "prognostic", "K"),), TimeStep.parse("6h"), history=2)
HOURLY = replace(SIX_HOURLY, time_step=TimeStep.parse("1h"))


def test_a_history_is_a_task_step_apart_in_a_finer_series() -> None:
    fields = weather_fields(30)
    state = states_at(fields, SIX_HOURLY, fields.times[[6, 20]]).state
    np.testing.assert_array_equal(state.values[:, 0, 0, :, 0], fields.values[[0, 14], 0, :, 0])
    np.testing.assert_array_equal(state.values[:, 0, 1, :, 0], fields.values[[6, 20], 0, :, 0])
    with pytest.raises(MeshcastError, match="no state with 2 times of history at 2019-03-01T05"):
        states_at(fields, SIX_HOURLY, fields.times[[5]])


def test_starts_leave_room_for_history_and_truth_in_steps_of_the_task() -> None:
    fields = weather_fields(30)
    init_time, trajectory = spread_starts(fields, SIX_HOURLY, steps=3)
    np.testing.assert_array_equal(init_time, fields.times[6 : 30 - 18])
    assert set(trajectory) == {-1}
    assert len(spread_starts(fields, HOURLY, steps=3, most=4)[0]) == 4


def test_no_start_has_a_missing_date_in_its_history() -> None:
    fields = replace(weather_fields(10), missing=frozenset({3, 4}))
    init_time, _ = spread_starts(fields, HOURLY, steps=2)
    np.testing.assert_array_equal(init_time, fields.times[[1, 2, 6, 7]])
    with pytest.raises(MeshcastError, match="no state with 2 times of history"):
        states_at(fields, HOURLY, fields.times[[5]])
    broken = replace(weather_fields(10), missing=frozenset(range(0, 10, 2)))
    with pytest.raises(MeshcastError, match="too few for 2 of history"):
        spread_starts(broken, HOURLY, steps=2, most=3)


def test_trajectories_start_where_their_history_is_complete_and_equal_initial_conditions(tmp_path) -> None:
    np.save(tmp_path / "a_test.npy", np.random.default_rng(0).normal(size=(3, 6, 1, 40)).astype(np.float32))
    task = Task((Variable("u", "prognostic", "1"),), TimeStep(1, "second", 1.0, "frame"), history=2)
    source = str(tmp_path / "a_test.npy")
    whole = initial_conditions(source, task, ring(40), "1")
    fields = open_fields(source)
    init_time, trajectory = spread_starts(fields, task, steps=4)
    spread = states_at(fields, task, init_time, trajectory)
    np.testing.assert_array_equal(spread.state.values, whole.state.values)
    np.testing.assert_array_equal(spread.state.valid_time, whole.state.valid_time)
    np.testing.assert_array_equal(spread.trajectory, whole.trajectory)
