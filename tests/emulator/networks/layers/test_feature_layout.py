"""How a graph network is put together from a task: which of its features are winds."""

from __future__ import annotations

import pytest

from emulator.features.departures import DeparturesConfig, build_inputs
from emulator.features.inputs import Inputs
from emulator.foundation.time_step import TimeStep
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere


def task_of(*variables: Variable, history: int = 1) -> Task:
    return Task(variables, TimeStep.parse("6h"), history=history)


def wind_columns(task: Task) -> tuple[tuple[int, int], ...]:
    return FeatureLayout.of(task, Inputs(task, icosphere(0))).winds


def test_the_components_of_every_wind_are_found_at_every_time_of_the_history() -> None:
    task = task_of(
        Variable("h", "prognostic"),
        Variable("u_500", "prognostic", partner="v_500"),
        Variable("v_500", "prognostic", partner="u_500"),
        Variable("10u", "prognostic", partner="10v"),  # one partner's word is enough
        Variable("10v", "prognostic"),
        history=2,
    )
    assert wind_columns(task) == ((1, 2), (3, 4), (6, 7), (8, 9))


def test_of_departures_only_the_winds_that_are_shown_are_features() -> None:
    wind = (Variable("u", "prognostic", partner="v"), Variable("v", "prognostic", partner="u"))
    task = task_of(*wind, Variable("co2", "forcing"), history=3)
    for shown, expected in ((1, [(0, 1)]), (2, [(0, 1), (2, 3)]), (None, [(0, 1), (2, 3), (4, 5)])):
        inputs = build_inputs(DeparturesConfig("none", shown=shown), task, icosphere(0))
        assert FeatureLayout.of(task, inputs).winds == tuple(expected)


def test_scalars_and_diagnostic_winds_are_no_wind_among_the_features() -> None:
    assert wind_columns(task_of(Variable("t", "prognostic"))) == ()
    diagnostic = (Variable("u", "diagnostic", partner="v"), Variable("v", "diagnostic", partner="u"))
    assert wind_columns(task_of(Variable("t", "prognostic"), *diagnostic)) == ()


@pytest.mark.parametrize("names", [("v", "u"), ("10v", "10u"), ("vwnd", "uwnd"), ("velocity_v", "velocity_u")])
def test_a_northward_component_listed_first_is_refused(names: tuple[str, str]) -> None:
    first, second = names
    task = task_of(Variable(first, "prognostic", partner=second), Variable(second, "prognostic", partner=first))
    with pytest.raises(MeshcastError, match=f"eastward component of a vector comes first. List {second} before"):
        wind_columns(task)
