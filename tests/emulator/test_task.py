"""What a task refuses: variables that contradict each other."""

from __future__ import annotations

import pytest

from emulator.foundation.time_step import TimeStep
from emulator.task import Task, Variable
from graphs.errors import MeshcastError

HOUR = TimeStep.parse("1h")


def test_bounds_must_rise() -> None:
    with pytest.raises(MeshcastError, match="bounds of sst must rise, but are 305 and 271"):
        Variable("sst", "prognostic", bounds=(305.0, 271.0))
    assert Variable("tp", "diagnostic", bounds=(None, 0.0)).bounds == (None, 0.0)


@pytest.mark.parametrize(
    ("partner", "message"),
    [("w", "not in the task"), ("u", "another predicted variable"), ("v_given", "another predicted variable")],
)
def test_the_partner_of_a_component_is_predicted_beside_it(partner: str, message: str) -> None:
    variables = (Variable("u", "prognostic", partner=partner), Variable("v_given", "forcing"))
    with pytest.raises(MeshcastError, match=message):
        Task(variables, HOUR)
    Task((Variable("u", "prognostic", partner="v"), Variable("v", "diagnostic", partner="u")), HOUR)


@pytest.mark.parametrize(
    ("variables", "history", "message"),
    [
        ((Variable("u", "forcing"),), 1, "at least one prognostic"),
        ((Variable("u", "prognostic"), Variable("u", "forcing")), 1, "different names"),
        ((Variable("u", "prognostic"),), 0, "history must be 1 to 1,000,000"),
    ],
)
def test_a_task_without_sense_is_refused(variables: tuple[Variable, ...], history: int, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        Task(variables, HOUR, history)
