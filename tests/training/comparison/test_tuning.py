"""Trials are equally many and equally short for every network row, and validation alone chooses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from tests.training.comparisons import config_in, write_source
from training.comparison.configuration import CompareConfig, TuningConfig
from training.comparison.runs import experiments
from training.comparison.tuning import Candidate, candidates, shortened, trials, with_chosen
from training.experiment import TrainingConfig
from training.runs.study import Result


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


def test_what_cannot_be_tried_is_refused(config: CompareConfig) -> None:
    with pytest.raises(MeshcastError, match="begin with training"):
        TuningConfig(axes={"seeds": (1,)})
    with pytest.raises(MeshcastError, match="lists positive rates"):
        TuningConfig(learning_rate=(1e-3, -1e-3))
    with pytest.raises(MeshcastError, match=r"(?s)tuning of convolution: .*width"):
        candidates(TuningConfig(axes={"emulator.width": (3,)}), {"convolution": experiments(config)["convolution"]})
