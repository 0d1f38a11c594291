"""Trials are equally many and equally short for every network row, and validation alone chooses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import MeshcastError
from inference.comparison.tables import trial_rows
from tests.training.comparisons import config_in, write_source
from training.comparison.configuration import CompareConfig, TuningConfig
from training.comparison.runs import experiments
from training.comparison.tuning import Candidate, candidates, trials, with_chosen
from training.experiment import TrainingConfig
from training.optimisation.validation import rank_of
from training.runs.study import Result
from training.tuning.short_trials import shortened


@pytest.fixture
def config(tmp_path: Path) -> CompareConfig:
    tuning = "tuning={learning_rate: [1.0e-3, 1.0e-2, 1.0e-1], axes: {training.noise: [0.0, 0.1]}, share: 0.5}"
    return config_in(tmp_path, write_source(tmp_path), tuning)


def result(candidate: Candidate, score: float | None, status: str = "done") -> Result:
    return Result("hash", candidate.run.label, 0, status, "folder", {"training": {"updates": 2}}, {},  # type: ignore[arg-type]
                  validation_score=score, seconds=1.0)  # fmt: skip


def test_every_network_row_makes_the_same_trials(config: CompareConfig) -> None:
    found = candidates(config.tuning, experiments(config))
    assert {candidate.label for candidate in found} == {"gnn", "convolution"}  # closed forms sweep their own
    settings = {label: [c.settings for c in found if c.label == label] for label in ("gnn", "convolution")}
    assert settings["gnn"] == settings["convolution"] and len(settings["gnn"]) == 6
    first = found[0].run
    assert first.label == "gnn, training.learning_rate=0.001, training.noise=0" and first.seed == 0
    assert (first.config.training.updates, first.config.validation.every) == (2, 2)
    tried = {(c.run.config.training.learning_rate, c.run.config.training.noise) for c in found}
    assert tried == {(rate, noise) for rate in (1e-3, 1e-2, 1e-1) for noise in (0.0, 0.1)}


def test_a_trial_is_the_whole_training_in_small() -> None:
    training = TrainingConfig(updates=1000, warm_up=100)
    assert shortened(training, TuningConfig((1e-3,), share=0.3)) == replace(training, updates=300, warm_up=30)
    assert shortened(training, TuningConfig((1e-3,), updates=50)) == replace(training, updates=50, warm_up=5)
    minutes = shortened(replace(training, minutes=8.0), TuningConfig((1e-3,), share=0.25))
    assert (minutes.minutes, minutes.warm_up) == (2.0, 25)


def test_the_best_validation_score_chooses_and_a_diverged_trial_is_infinitely_bad(
    config: CompareConfig, tmp_path: Path
) -> None:
    planned = experiments(config)
    found = candidates(config.tuning, planned)
    scores = [0.5, 0.4, 0.1, 0.3, 0.3, math.nan] + [0.2] * 6
    results = [result(candidate, score) for candidate, score in zip(found, scores, strict=True)]
    results[2] = replace(results[2], status="diverged", reason="loss not finite")
    made = trials(found, results, tmp_path)
    assert [number for number, trial in enumerate(made) if trial.chosen] == [3, 6]  # of equals the first
    assert made[2].score is None and made[2].status == "diverged" and made[5].score is None
    tuned = with_chosen(planned, made)
    assert (tuned["gnn"].training.learning_rate, tuned["gnn"].training.noise) == (1e-2, 0.1)
    assert tuned["convolution"].training.updates == 5  # its own, not the trial's
    assert tuned["ridge"] == planned["ridge"]
    lost = trials(found, [replace(entry, status="diverged") for entry in results], tmp_path)
    assert not any(trial.chosen for trial in lost) and with_chosen(planned, lost) == planned


def test_noise_is_tried_beside_the_learning_rate_as_an_axis_of_its_own() -> None:
    tuning = TuningConfig(learning_rate=(1e-3, 3e-3), noise=(0.0, 0.01), axes={"training.weight_decay": (0.0, 0.1)})
    assert list(tuning.all_axes) == ["training.learning_rate", "training.noise", "training.weight_decay"]
    assert (
        tuning.all_axes["training.noise"]
        == TuningConfig(axes={"training.noise": (0.0, 0.01)}).all_axes["training.noise"]
    )


def test_points_of_ranges_are_the_same_for_every_row(config: CompareConfig) -> None:
    tuning = TuningConfig(learning_rate="1e-4..1e-1 log", noise=(0.0, 0.1), axes={"training.unroll": "1..3"}, trials=8)
    found = candidates(tuning, experiments(config))
    settings = {label: [c.settings for c in found if c.label == label] for label in ("gnn", "convolution")}
    assert settings["gnn"] == settings["convolution"] and len(settings["gnn"]) == 8
    rates = [point["training.learning_rate"] for point in settings["gnn"]]
    assert len(set(rates)) == 8 and min(rates) < 1e-3 and max(rates) > 1e-2
    assert {point["training.unroll"] for point in settings["gnn"]} == {1, 2, 3}
    assert {point["training.noise"] for point in settings["gnn"]} == {0.0, 0.1}
    with pytest.raises(MeshcastError, match=r"range for training\.learning_rate: say how many"):
        replace(tuning, trials=None)
    with pytest.raises(MeshcastError, match="low end must lie below"):
        replace(tuning, noise="0.1..0.01")
    with pytest.raises(MeshcastError, match="trials must be at least 1"):
        replace(tuning, trials=0)
    with pytest.raises(MeshcastError, match=r"(?s)tuning of gnn: .*unroll must be at least 1"):
        candidates(replace(tuning, axes={"training.unroll": "0..3"}), experiments(config))


def test_a_trial_whose_long_rollouts_died_counts_as_worse(config: CompareConfig, tmp_path: Path) -> None:
    found = candidates(config.tuning, experiments(config))[:6]
    results = [result(candidate, score) for candidate, score in zip(found, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], strict=True)]
    results[0] = replace(results[0], rank=0.9)
    results[1] = replace(results[1], rank=0.2)  # the others are of an earlier version, which kept no rank
    made = trials(found, results, tmp_path)
    assert [number for number, trial in enumerate(made) if trial.chosen] == [1]
    assert (made[0].score, made[0].counts_as, made[2].counts_as) == (0.1, 0.9, 0.3)
    assert trial_rows(made)[0]["score"] == "0.1, counts as 0.9 for its long rollouts died"


@pytest.mark.parametrize(
    ("metadata", "rank"),
    [
        ({}, None),
        ({"validation_score": None, "long_rollout": {"steps": 100, "lived": 4.0}}, None),
        ({"validation_score": 0.5}, 0.5),
        ({"validation_score": 0.5, "long_rollout": {"steps": 100, "lived": 100.0}}, 0.5),
        ({"validation_score": 0.5, "long_rollout": {"steps": 100, "lived": 25.0}}, 0.5 * 2 * 4),
    ],
)
def test_what_a_checkpoint_was_chosen_by_follows_from_its_metadata(
    metadata: dict[str, Any], rank: float | None
) -> None:
    assert rank_of(metadata) == rank


def test_what_cannot_be_tried_is_refused(config: CompareConfig) -> None:
    with pytest.raises(MeshcastError, match="begin with training"):
        TuningConfig(axes={"seeds": (1,)})
    with pytest.raises(MeshcastError, match="lists positive rates"):
        TuningConfig(learning_rate=(1e-3, -1e-3))
    with pytest.raises(MeshcastError, match="lists sizes from 0, but is"):
        TuningConfig(noise=(0.01, -0.01))
    with pytest.raises(MeshcastError, match=r"sets training\.noise twice"):
        TuningConfig(noise=(0.01,), axes={"training.noise": (0.0,)})
    with pytest.raises(MeshcastError, match=r"(?s)tuning of convolution: .*width"):
        candidates(TuningConfig(axes={"emulator.width": (3,)}), {"convolution": experiments(config)["convolution"]})
