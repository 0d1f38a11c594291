"""A study of trials ends the same however often it was killed, takes nothing for another, and says what went wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emulator.baselines.persistence import PersistenceConfig
from emulator.foundation.configuration import load
from emulator.networks.transformer import TransformerConfig
from graphs.errors import MeshcastError
from inference.comparison.record import Trial
from tests.training.worlds import experiment
from training.early_end import PrunedError
from training.experiment import ExperimentConfig
from training.optimisation.callbacks import KeepCheckpoints
from training.preparation.prepared import PreparedData
from training.runs.fit import fit
from training.runs.study import Result, Run
from training.tuning import tune as tuning
from training.tuning.proposals import SCATTERED
from training.tuning.trial_store import TrialStore
from training.tuning.tune import SearchConfig, Tuned, make_trials, outcome, planned, tune
from training.tuning.workers import tune_together

RATE, NOISE = "training.learning_rate", "training.noise"
SPACE = {RATE: "1e-4..1e-1 log", "emulator.processor.num_layers": "1..2"}


def timeless(tuned: Tuned) -> list[Trial]:
    return [replace(trial, seconds=None) for trial in tuned.trials]


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return experiment(tmp_path, training={"updates": 10, "warm_up": 2, "threads": 1}, validation={"every": 2})


@pytest.fixture
def without_fits(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Put a formula in place of fits, whose score falls with the updates to what settings give; the runs made."""
    made: list[Run] = []

    def fit_by_formula(run: ExperimentConfig, folder: Path, watch: Callable[..., None], **options: Any) -> float:
        rate, updates = math.log10(run.training.learning_rate), run.training.updates
        if run.training.noise == 0.5:
            raise MeshcastError("Noise of a half is refused.")
        if rate > -1.5:
            return math.inf
        best = 0.1 + (rate + 2.5) ** 2
        for update in (4, 8) if updates == 10 else ():
            watch(update, updates, best + 1 / update)
        return best

    def study_of(runs: Sequence[Run], results: Path, *, fitting: Callable[..., Any], **options: Any) -> list[Result]:
        (run,) = runs
        made.append(run)
        found = Result("hash", run.label, run.seed, "done", "folder", {"training": {"updates": 10}}, {}, seconds=1.0)
        try:
            score = fitting(run.experiment, Path("folder"))
        except PrunedError as error:
            return [replace(found, status="pruned", reason=str(error), rank=9.0)]
        except MeshcastError as error:
            return [replace(found, status="failed", reason=str(error))]
        if math.isinf(score):
            return [replace(found, status="diverged", reason="loss not finite")]
        return [replace(found, validation_score=score, rank=score)]

    monkeypatch.setattr(tuning, "fit", fit_by_formula)
    monkeypatch.setattr(tuning, "run_study", study_of)
    return made


def test_a_grid_makes_every_trial_once_and_leaves_its_folder_to_the_run(config: ExperimentConfig) -> None:
    said = list[str]()
    asked = SearchConfig({NOISE: [0.0, 0.5]}, share=0.4)
    made = tune(config, asked, progress=False, say=said.append)
    assert [trial.settings for trial in made.trials] == [{NOISE: 0.0}, {NOISE: 0.5}]
    assert all(trial.updates == 4 and trial.status == "done" for trial in made.trials)
    assert made.chosen == min(made.trials, key=lambda trial: trial.counts_as)
    again = tune(config, asked, progress=False, say=said.append)
    assert again == made and len(said) == 4  # nothing was made again
    more = tune(config, replace(asked, space={NOISE: [0.0, 0.5, 0.1]}), progress=False)
    assert more.folder != made.folder and more.trials[:2] == tuple(
        replace(trial, chosen=trial is more.chosen) for trial in more.trials[:2]
    )
    assert [trial.score for trial in more.trials[:2]] == [trial.score for trial in made.trials]
    assert more.trials[0].seconds == made.trials[0].seconds  # found by its content
    fit(config, progress=False)
    assert {path.name for path in (Path(config.output) / "run" / "trials").iterdir()} > {"results"}
    with pytest.raises(MeshcastError, match="closed form and makes no trials"):
        tune(replace(config, emulator=PersistenceConfig()), asked)


def test_the_best_configuration_is_complete_and_trains_as_it_is(config: ExperimentConfig) -> None:
    made = tune(config, SearchConfig({NOISE: [0.0, 0.5]}), progress=False)
    assert made.best is not None and made.chosen is not None
    best = load(ExperimentConfig, made.best)
    assert best == replace(config, training=replace(config.training, noise=made.chosen.settings[NOISE]))
    fit(replace(best, training=replace(best.training, updates=2)), progress=False)
    lines = (made.folder / "trials.csv").read_text().splitlines()
    assert lines[0] == "trial,training.noise,status,reason,updates,score,rank,seconds,chosen" and len(lines) == 3


@pytest.mark.parametrize(
    ("trials", "places"),
    [
        # after a validation, before its checkpoint; after an outcome was written
        (2, [(TrialStore, "report", 2), (TrialStore, "tell", 1)]),
        # after a checkpoint of the first trial; before the next has begun; where it is ended early, or proposed by TPE
        pytest.param(
            12,
            [(KeepCheckpoints, "save", 2), (TrialStore, "_proposed", 1), *[(TrialStore, "report", 7)] * 5],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_again_and_again_a_study_makes_the_trials_of_an_unbroken_one(
    config: ExperimentConfig, tmp_path: Path, trials: int, places: list[tuple[type, str, int]]
) -> None:
    asked = SearchConfig(SPACE, trials=trials, share=1.0)
    whole = tune(replace(config, output=str(tmp_path / "whole")), asked, progress=False)
    assert len({trial.score for trial in whole.trials if trial.status == "done"}) >= min(trials, 4)
    assert ("pruned" in [trial.status for trial in whole.trials]) == (trials == 12)
    broken = replace(config, output=str(tmp_path / "broken"))
    for cls, name, times in places:
        if (child := os.fork()) == 0:
            try:
                does, left = getattr(cls, name), [times]

                def dies_after(*arguments: Any, does: Any = does, left: list[int] = left, **options: Any) -> Any:
                    found = does(*arguments, **options)
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return found

                setattr(cls, name, dies_after)
                tune(broken, asked, progress=False)
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    said = list[str]()
    resumed = tune(broken, asked, progress=False, say=said.append)
    assert timeless(resumed) == timeless(whole) and resumed.importances == whole.importances
    plans = [
        planned(replace(config, output=str(tmp_path / name)), asked, PreparedData()) for name in ("whole", "broken")
    ]
    scores = [[trial.intermediate_values for trial in plan.open().trials] for plan in plans]
    assert scores[0] == scores[1] and len(scores[0][0]) == 4
    assert len(said) < 2 * trials  # some were finished before


def test_a_search_comes_to_the_best_rate_and_ends_bad_trials_early(
    config: ExperimentConfig, without_fits: list[Run]
) -> None:
    made = tune(config, SearchConfig({RATE: "1e-4..1e-1 log"}, trials=12, share=1.0), progress=False)
    assert made.chosen is not None and 2e-3 < made.chosen.settings[RATE] < 5e-3
    status = [trial.status for trial in made.trials]
    assert status.count("pruned") >= 2 and status.count("diverged") >= 1 and len(status) == len(without_fits) == 12
    assert all(trial.counts_as == math.inf for trial in made.trials if trial.status != "done")
    reasons = {trial.reason for trial in made.trials if trial.status == "pruned"}
    assert all("worse than the median of earlier trials after" in reason for reason in reasons)
    assert made.trials[0].settings == {RATE: 2e-3}  # as configured
    assert {run.config.validation.every for run in without_fits} == {2}  # five times in a trial
    assert made.importances == {RATE: 1.0}


@pytest.mark.slow
def test_more_trials_go_on_where_fewer_ended(config: ExperimentConfig, without_fits: list[Run]) -> None:
    few = tune(config, SearchConfig(SPACE, trials=SCATTERED + 1), progress=False)
    more = tune(config, SearchConfig(SPACE, trials=SCATTERED + 4), progress=False)
    assert [trial.settings for trial in more.trials[: SCATTERED + 1]] == [trial.settings for trial in few.trials]
    assert len(more.trials) == len(without_fits) == SCATTERED + 4


def test_no_trial_is_begun_after_the_time_is_over(config: ExperimentConfig, without_fits: list[Run]) -> None:
    assert tune(config, SearchConfig(SPACE), timeout=0.0, progress=False).trials == ()
    assert without_fits == []


def test_a_study_of_another_configuration_or_data_is_refused_with_both_values(
    config: ExperimentConfig, without_fits: list[Run]
) -> None:
    asked = SearchConfig(SPACE, trials=1)
    tune(config, asked, progress=False)
    changed = replace(config, training=replace(config.training, batch_size=3))
    with pytest.raises(MeshcastError, match=r"(?s)another study:.*batch_size is 4 there, and 3 here.*--study"):
        tune(changed, asked, progress=False)
    with pytest.raises(MeshcastError, match=r"space .*learning_rate: 0\.0001\.\.0\.1 log.* there, and .*0\.01 log"):
        tune(config, replace(asked, space={**SPACE, RATE: "1e-4..1e-2 log"}), progress=False)
    with pytest.raises(MeshcastError, match="seed is 0 there, and 1 here"):
        tune(config, replace(asked, seed=1), progress=False)
    tune(changed, asked, study="second", progress=False)
    tune(replace(config, training=replace(config.training, threads=2)), asked, progress=False)  # no other run
    import numpy as np

    values = np.load(config.data.train.source)  # type: ignore[arg-type]
    np.save(config.data.train.source, values * 2)  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match=r"data .* there, and .* here"):
        tune(config, asked, progress=False)
    assert len(without_fits) == 2


def test_trials_that_fail_count_and_where_all_do_the_reason_is_said(
    config: ExperimentConfig, without_fits: list[Run]
) -> None:
    made = tune(config, SearchConfig({NOISE: [0.0, 0.5]}), progress=False)
    assert [trial.status for trial in made.trials] == ["done", "failed"] and made.trials[0].chosen
    broken = replace(config, training=replace(config.training, noise=0.5))
    with pytest.raises(MeshcastError, match="first 5 trials all failed; the last one: Noise of a half is refused"):
        tune(broken, SearchConfig(SPACE), study="broken", progress=False)
    diverged = tune(config, SearchConfig({RATE: [0.09, 0.1]}), progress=False)
    assert diverged.chosen is None and diverged.best is None


def test_settings_that_do_not_go_together_are_refused_in_a_grid_and_fail_in_a_search(
    config: ExperimentConfig, without_fits: list[Run]
) -> None:
    config = replace(config, emulator=TransformerConfig())
    width, heads = "emulator.width", "emulator.num_heads"
    with pytest.raises(MeshcastError, match="num_heads must divide the width"):
        tune(config, SearchConfig({width: [32, 30], heads: [4, 15]}), progress=False)
    assert len(tune(config, SearchConfig({width: [30, 60], heads: [5, 15]}), progress=False).trials) == 4
    made = tune(config, SearchConfig({width: "30..36", heads: [1, 4]}, trials=8), progress=False)
    fits = {trial.settings[width] % trial.settings[heads] == 0: trial.status for trial in made.trials}
    assert fits == {True: "done", False: "failed"}
    with pytest.raises(MeshcastError, match="10,201 combinations"):
        tune(config, SearchConfig({NOISE: list(range(101)), "training.warm_up": list(range(101))}), progress=False)


def test_a_full_disk_ends_the_study_and_the_trial_is_made_again(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = SearchConfig({NOISE: [0.0]})

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(KeepCheckpoints, "save", full)
        with pytest.raises(OSError, match="No space left"):
            tune(config, asked, progress=False)
    assert [trial.status for trial in tune(config, asked, progress=False).trials] == ["done"]


def test_each_task_of_a_scheduler_makes_trials_of_its_own(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    made = tune(config, SearchConfig({NOISE: [0.0]}), progress=False)
    assert made.chosen is not None and list((made.folder.parent).glob("*/done.json"))
    assert os.environ["SLURM_PROCID"] == "3"


def test_several_processes_share_the_trials_of_a_study(config: ExperimentConfig) -> None:
    said = list[str]()
    asked = SearchConfig(SPACE, trials=3, share=0.4)
    made = tune_together(config, asked, workers=2, say=said.append, start_method="fork")
    assert len(made.trials) == 3 and made.chosen is not None and made.running == ()
    assert {text.split(":")[0] for text in said} == {"worker 1", "worker 2"}
    begun = [text for text in said if text.endswith("...")]
    assert len(begun) == len(set(begun)) == 3  # each is made once
    with pytest.raises(MeshcastError, match="at least 1"):
        tune_together(config, asked, workers=0)


def test_the_fault_of_every_process_is_the_fault_of_the_study(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any, **options: Any) -> None:
        raise MeshcastError("The data are gone.")

    monkeypatch.setattr("training.tuning.workers.make_trials", refused)
    with pytest.raises(MeshcastError, match=r"^The data are gone\.$"):
        tune_together(config, SearchConfig(SPACE, trials=2), workers=2, start_method="fork")


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_its_trial_to_the_others(
    config: ExperimentConfig, without_fits: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies_or_works(plan: Any, data: Any, *, say: Any, **options: Any) -> None:
        store = plan.open()
        if os.path.exists("first"):
            make_trials(plan, data, say=say, **options)
            return
        Path("first").touch()
        with store.next_trial(plan.propose, plan.count):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.chdir(config.output)
    monkeypatch.setattr("training.tuning.workers.make_trials", dies_or_works)
    said = list[str]()
    asked = SearchConfig(SPACE, trials=3)
    with pytest.raises(MeshcastError, match="SIGKILL; its trial goes on"):
        tune_together(config, asked, workers=1, say=said.append, start_method="fork")
    plan = planned(config, asked, PreparedData())
    assert outcome(plan).running == (0,)
    made = tune_together(config, asked, workers=1, say=said.append, start_method="fork")
    assert len(made.trials) == 3 and made.trials[0].status == "done" and made.running == ()


def test_what_is_asked_for_is_checked() -> None:
    for wrong in ({"trials": 0}, {"updates": 0}, {"share": 0.0}, {"share": 1.5}, {"seed": -1}, {"seed": 2**32}):
        with pytest.raises(MeshcastError, match=next(iter(wrong))):
            SearchConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match="pruner"):
        load(SearchConfig, {"pruner": "medain"})
    assert json.dumps(load(SearchConfig, {"space": {RATE: "1..2"}}).space) == json.dumps({RATE: "1..2"})
