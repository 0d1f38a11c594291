"""The keys of a strategy: what is refused, and that their defaults change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import MeshcastError
from training.experiment import TrainingConfig
from training.strategies import matched


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradient_steps": 0}, r"training.gradient_steps must be at least 1, but is 0"),
        ({"patience": 0}, r"training.patience must be at least 1"),
        ({"spectral_share": 1.5}, r"a share from 0 to 1, but is 1.5"),
        ({"loss_weights": {"t": -1.0}}, r"numbers from 0, but are \{'t': -1.0\}"),
        ({"loss_weights": {"t": float("nan")}}, r"numbers from 0, but are"),
        ({"loss": "crps"}, r"members to 2 or more, which is 1, and training.noise above 0, which is 0.01"),
        ({"loss": "crps", "members": 3, "noise": 0.0}, r"training.noise above 0, which is 0"),
        ({"members": 2}, r"members=2 is for training.loss=crps, but the loss is mse"),
        ({"loss": "crps", "members": 2, "spectral_share": 0.5}, r"errors of one forecast, not of members"),
        ({"random_unroll": True}, r"from 1 to training.unroll, which is 1"),
        ({"plateau": 2}, r"the next stage of training.curriculum. Give one of several"),
        ({"fresh": ("decoder.*",)}, r"training.fresh is for training.initialise_from"),
    ],
)
def test_a_strategy_without_what_it_works_on_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        TrainingConfig(**settings)


def test_what_is_set_is_named() -> None:
    assert TrainingConfig().strategies_set() == []
    assert TrainingConfig(patience=3, unroll=2, random_unroll=True).strategies_set() == [
        "training.random_unroll=True",
        "training.patience=3",
    ]


def test_a_pattern_that_fits_nothing_is_refused_with_all_there_is() -> None:
    assert matched(("t_*", "*"), ["t_500", "z_500"], "key", "names") == {"t_*": ["t_500"], "*": ["t_500", "z_500"]}
    with pytest.raises(MeshcastError, match=r"key has the pattern 'q_\*', which fits none of names: t_500, z_500"):
        matched(("t_*", "q_*"), ["t_500", "z_500"], "key", "names")
