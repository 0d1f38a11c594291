"""What is tried next follows from the trials so far alone, and comes nearer to what is good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from graphs.errors import MeshcastError
from training.tuning.proposals import (
    SCATTERED,
    Propose,
    decoded,
    distributions,
    encoded,
    grid,
    importances,
    pruner,
    search,
)
from training.tuning.space import Space, space_of

RATE, NOISE = "training.learning_rate", "training.noise"
SPACE = space_of(
    {
        RATE: "1e-4..1e-1 log",
        NOISE: [0, 0.01],
        "emulator.kind": {"gnn": {"num_layers": "1..8"}, "fno": {"modes": "4..16 log", "width": "8..32 step 8"}},
    }
)


def score(point: Mapping[str, Any]) -> float:
    """The rate has its best at 3e-3, noise and the graph network are better, layers hardly matter."""
    rate = math.log10(point[RATE])
    if rate > -1.2:
        return math.inf  # it diverges
    return 0.1 + (rate + 2.5) ** 2 + 0.5 * (point[NOISE] == 0) + (point["emulator.kind"] == "fno")


def trial(space: Space, point: Mapping[str, Any], value: float | None, number: int) -> FrozenTrial:
    state = TrialState.RUNNING if value is None else TrialState.COMPLETE
    params, axes = encoded(space, point), distributions(space, point)
    made = create_trial(state=state, params=params, distributions=axes, value=value)
    made.number = number
    return made


def trials_of(propose: Propose, count: int, space: Space = SPACE) -> list[FrozenTrial]:
    made: list[FrozenTrial] = []
    for number in range(count):
        point = propose(made)
        made.append(trial(space, point, score(point), number))
    return made


def test_proposals_are_a_function_of_the_trials_so_far() -> None:
    whole = trials_of(search(SPACE, None, 0, "median"), SCATTERED + 6)
    for done in (0, 3, SCATTERED, SCATTERED + 3):
        again = search(SPACE, None, 0, "median")  # a new process
        assert again(whole[:done]) == decoded(SPACE, whole[done].params)
    others = trials_of(search(SPACE, None, 1, "median"), 2)
    assert [each.params for each in others] != [each.params for each in whole[:2]]


def test_a_search_gathers_where_trials_were_good() -> None:
    made = trials_of(search(SPACE, None, 0, "median"), 30)
    values = [math.inf if each.value is None else each.value for each in made]
    assert np.median(values[-10:]) < 0.5 * np.median(values[:10]) and min(values) < 0.15
    found = importances(made)
    assert next(iter(found)) == RATE and sum(found.values()) == pytest.approx(1.0)
    assert importances(made[:3]) == {}


def test_the_configuration_as_it_stands_comes_first() -> None:
    first = {RATE: 3e-3, NOISE: 0, "emulator.kind": "gnn", "gnn:num_layers": 2}
    propose = search(SPACE, first, 0, "median")
    assert propose([]) == first and propose([trial(SPACE, first, 1.0, 0)]) != first


def test_parallel_trials_differ() -> None:
    propose = search(SPACE, None, 0, "hyperband")
    made = trials_of(propose, SCATTERED + 2)
    second = propose([*made, trial(SPACE, propose(made), None, len(made))])
    assert second != propose(made)


def test_a_grid_is_every_combination_in_turn() -> None:
    propose, count = grid(space_of({"training.unroll": [1, 2], NOISE: [0, 0.1]}))
    points = [propose([None] * number) for number in range(count)]  # type: ignore[list-item]
    assert points == [{NOISE: a, "training.unroll": b} for a in (0, 0.1) for b in (1, 2)]  # the noise is first always


def test_lists_of_anything_survive_the_storage_of_plain_values() -> None:
    space = space_of({"training.mirror": [None, [], ["u"]], "training.shift": [True, False], NOISE: [1, 0.5]})
    for point in space.points():
        assert decoded(space, encoded(space, point)) == point
    with pytest.raises(MeshcastError, match="not among"):
        decoded(space, {NOISE: 0.25})


@pytest.mark.parametrize("name", ["median", "hyperband", "none"])
def test_a_trial_that_is_far_behind_is_ended_and_one_that_leads_is_not(name: Any) -> None:
    study = optuna.create_study(pruner=pruner(name, 100), study_name="meshcast")

    def ended(value: float) -> bool:
        asked = study.ask()
        for step in (20, 40, 60, 80):
            asked.report(value, step)
            if asked.should_prune():
                study.tell(asked, state=TrialState.PRUNED)
                return True
        study.tell(asked, value)
        return False

    for number in range(9):
        ended(number + 1.0)
    assert any(ended(99.0) for _ in range(5)) == (name != "none")
    assert not any(ended(0.5 - number / 100) for number in range(3))
