"""What is found out about the data before training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphs.errors import MeshcastError
from tests.emulator.worlds import weather_fields
from training.preparation.prepared import _valid
from training.task_config import TaskConfig


def test_a_node_is_valid_that_has_a_value_at_any_season() -> None:
    """The first day has ice where the sea is open later; land has nothing ever."""
    fields = weather_fields(60)
    sea, land = 0, np.isnan(fields.values[0, 0, :, 1])
    fields.values[:30, :, sea, 1] = np.nan
    valid = _valid(replace(fields, missing=frozenset({59})), ("2t", "sst"))
    assert valid is not None and valid[:, 0].all()
    np.testing.assert_array_equal(valid[:, 1], ~land)
    assert _valid(fields, ("2t", "tp")) is None


def test_a_variable_named_as_conserved_is_so_in_the_task() -> None:
    task = TaskConfig(prognostic=("2t", "sst"), diagnostic=("tp",), conserved=("sst",)).build(weather_fields())
    assert [variable.conserved for variable in task.variables] == [False, True, False]


@pytest.mark.parametrize(
    "named", [{"conserved": ("q",)}, {"partners": {"q": "2t", "2t": "sst"}}, {"bounds": {"q": (0.0, None)}}], ids=list
)
def test_what_is_said_of_a_variable_the_task_does_not_name_is_refused(named: dict[str, Any]) -> None:
    key = next(iter(named))
    with pytest.raises(MeshcastError, match=rf"task.{key} names q, but the task's variables are 2t, sst\."):
        TaskConfig(prognostic=("2t", "sst"), **named).build(weather_fields())
