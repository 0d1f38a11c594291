"""Stages and ends by validation: what standing still brings about, and that a checkpoint keeps it."""

from __future__ import annotations

import numpy as np

from training.experiment import TrainingConfig
from training.optimisation.standstill import Standstill, drawn_steps


def followed(ranks: list[float], training: TrainingConfig, every: int = 10) -> list[Standstill]:
    """What is known after each of some validations."""
    standstill, found = Standstill(), []
    for number, rank in enumerate(ranks, 1):
        standstill.take_note(rank, number * every, training)
        found.append(Standstill(standstill.best, standstill.since, standstill.stage, standstill.ended))
    return found


def test_a_training_ends_after_its_patience_of_validations_that_were_no_better() -> None:
    training = TrainingConfig(updates=100, patience=2)
    found = followed([3.0, 2.0, 2.0, 1.0, 1.5, 1.0], training)
    assert [each.ended for each in found] == [False, False, False, False, False, True]
    assert found[-1].best == 1.0


def test_a_failed_forecast_is_no_better() -> None:
    training = TrainingConfig(updates=100, patience=2)
    assert [each.ended for each in followed([float("inf"), float("nan")], training)] == [False, True]


def test_the_next_stage_begins_where_validation_stands_still_or_its_share_has_come() -> None:
    training = TrainingConfig(updates=100, curriculum=((0.5, 1), (0.3, 2), (0.2, 4)), plateau=2)
    found = followed([3.0, 3.0, 3.0, 2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5], training)
    assert [each.stage for each in found] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]  # standing still at 30, by share at 80
    assert [training.unroll_at(update, stage) for update, stage in ((30, 1), (30, 0), (90, 1))] == [2, 1, 4]


def test_patience_counts_in_the_last_stage_alone() -> None:
    training = TrainingConfig(updates=100, curriculum=((0.5, 1), (0.5, 2)), patience=3)
    assert [each.ended for each in followed([1.0] * 8, training)] == [False] * 6 + [True] * 2


def test_drawn_steps_are_even_and_a_function_of_seed_and_update() -> None:
    drawn = [drawn_steps(3, update, 4) for update in range(2000)]
    assert drawn == [drawn_steps(3, update, 4) for update in range(2000)]
    assert drawn != [drawn_steps(4, update, 4) for update in range(2000)]
    assert np.abs(np.bincount(drawn)[1:] - 500).max() < 80
