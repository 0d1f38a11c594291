"""`meshcast tune`: trials of one experiment until there are as many as asked for, by any number of processes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from emulator.build import TrainedEmulator, is_closed_form
from emulator.foundation.configuration import dump
from graphs.atomic_file import atomic_file, of_the_system
from graphs.errors import MeshcastError
from graphs.output_lock import InUseError
from inference.comparison.record import Trial
from inference.comparison.tuning_plots import TriedAxis
from training.early_end import PrunedError
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.run_folder import folder_named, run_folder
from training.runs.fit import fit
from training.runs.study import Result, Run, refuse_several_devices, run_study, updates_taken
from training.tuning.default_space import default_space
from training.tuning.proposals import Propose, Pruning, decoded, grid, importances, search
from training.tuning.settings import spelt, varied
from training.tuning.short_trials import short_trial, with_best_chosen
from training.tuning.space import Choice, Space, fitted, settings_of_point, space_of
from training.tuning.study_identity import identity_of, refuse_another
from training.tuning.trial_store import OUTCOME, Begun, TrialStore

Say = Callable[[str], None]

RESERVED = ("results", "trials")  # folders in the same place
TRIALS, MOST_COMBINATIONS = 20, 10_000
VALIDATIONS = 5  # of a trial of a search, at each of which it may be ended early
HOPELESS = 5  # trials that failed, and no other: then the fault is none of theirs
PROCESS_NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # by which `is_first_process` knows
LOOK_AGAIN = 2.0  # seconds until a run that another process makes is asked for again


@dataclass(frozen=True)
class SearchConfig:
    """What `meshcast tune` tries; `--search FILE` reads it from YAML.

    space: by dotted path a list of values, or a range as `1e-4..1e-1 log`, `2..8`, `16..64 step 16`; `emulator.kind`
        may have a section for each kind, with what is tried of that kind alone.
    defaults: try beside it what is tried where `space` is empty: learning rate, noise, weight decay, and the layers and
        width of each kind of emulator.
    trials: in all, of this study. By default every combination of a space of lists alone, else 20.
    share: of the experiment's updates, or minutes, that a trial takes; updates: in its place, their number.
    seed: of the training of all trials, and of what is tried.
    pruner: what ends bad trials at their validations: `median`, `hyperband` or `none`; by default the median, but for a
        space of lists alone, every combination of which comes to its end.
    """

    space: dict[str, Any] = field(default_factory=dict)
    defaults: bool = False
    trials: int | None = None
    share: float = 0.25
    updates: int | None = None
    seed: int = 0
    pruner: Pruning | None = None

    def __post_init__(self) -> None:
        for name, least in {"trials": 1, "updates": 1, "seed": 0}.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise MeshcastError(f"{name} must be at least {least}, but is {value}.")
        if not 0 < self.share <= 1:
            raise MeshcastError(f"share must lie above 0 and at most at 1, but is {self.share}.")
        if self.seed >= 2**32:
            raise MeshcastError(f"seed must be a number from 0 to 2^32 - 1, but is {self.seed}.")


@dataclass(frozen=True)
class Tuned:
    """What came of a study so far.

    trials: those that ended, in order of their numbers, the best marked as chosen. numbers, points: theirs.
    running: numbers of trials that another process makes, or that were broken off.
    importances: by name, the largest first; empty of few trials. axes: what was tried, by the names in points.
    folder: of the study's files. best: the whole experiment with the chosen settings, as YAML; None where all diverged.
    """

    trials: tuple[Trial, ...]
    numbers: tuple[int, ...]
    points: tuple[Mapping[str, Any], ...]
    running: tuple[int, ...]
    importances: Mapping[str, float]
    axes: tuple[TriedAxis, ...]
    folder: Path
    best: Path | None

    @property
    def chosen(self) -> Trial | None:
        """Return the best trial; None where all diverged or failed."""
        return next((trial for trial in self.trials if trial.chosen), None)


@dataclass(frozen=True, eq=False)
class Plan:
    """Holds a study that was checked against its experiment and data, no trial made yet.

    config: the experiment; placed: where its trials go. count: trials in all.
    """

    config: ExperimentConfig
    placed: ExperimentConfig
    asked: SearchConfig
    space: Space
    propose: Propose
    count: int
    pruning: Pruning
    is_grid: bool
    folder: Path
    identity: Mapping[str, Any]

    @property
    def results(self) -> Path:
        """Return the folder of the result files, which all studies of the experiment share."""
        return self.folder.parent / "results"

    def open(self) -> TrialStore:
        """Return the trials so far. Raises MeshcastError where they are another study's."""
        store = TrialStore(self.folder / "study.db", self.space, self.identity)
        remedy = "Give this one a name of its own, --study NAME; finished trials of the same settings are not repeated."
        refuse_another(store.identity, self.identity, self.trial({}), str(self.folder), remedy)
        return store

    def trial(self, settings: Mapping[str, Any]) -> ExperimentConfig:
        """Return what is fitted to try settings."""
        return short_trial(self.placed, settings, self.asked, "what to try", 1 if self.is_grid else VALIDATIONS)


def planned(config: ExperimentConfig, asked: SearchConfig, data: PreparedData, study: str | None = None) -> Plan:
    """Return the plan of a study; all that can be wrong with it is found here.

    study: its name; by default `search`, and of every combination of lists one that follows from them.
    Raises MeshcastError where a path leads nowhere, or where nothing is trained by gradient descent.
    """
    if is_closed_form(config.emulator):
        raise MeshcastError(f"An emulator of kind {config.emulator.kind} is fitted in closed form and makes no trials.")
    space = fitted(space_asked(asked, config), config)
    whole = run_folder(config)
    placed = replace(config, output=str(whole), name="trials", data=replace(config.data, test=None), between=None)
    refuse_several_devices([Run(config.name, placed)])
    is_grid = space.finite and asked.trials is None
    pruning: Pruning = asked.pruner or ("none" if is_grid else "median")
    if is_grid and space.size > MOST_COMBINATIONS:
        raise MeshcastError(f"These lists have {space.size:,.0f} combinations. Say how many are tried: --trials 50.")
    if is_grid:
        propose, count = grid(space)
    else:
        propose = search(space, space.point_of(config), asked.seed, pruning)
        count = int(min(asked.trials or TRIALS, space.size))
    plan = Plan(config, placed, asked, space, propose, count, pruning, is_grid, whole, {})
    for point in space.points() if is_grid else ():
        plan.trial(settings_of_point(point))  # what some lists cannot have together is refused before any trial
    fingerprints = data.fingerprints(placed.data)
    identity = identity_of(plan.trial({}), fingerprints, str(space), asked.seed, pruning)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    name = study or (f"grid-{digest}" if is_grid else "search")
    if name in RESERVED or re.fullmatch(r"[\w.+-]+", name) is None:
        raise MeshcastError(
            f"--study is the name of a folder in {whole / 'trials'}, of letters, digits and -, other than "
            f"{' and '.join(RESERVED)}; but it is {name!r}."
        )
    folder = folder_named(str(whole / "trials"), name)
    return replace(plan, folder=folder, identity=identity)


def space_asked(asked: SearchConfig, config: ExperimentConfig) -> Space:
    """Return what is tried, before it is held against the experiment."""
    space = space_of(asked.space)
    if asked.space and not asked.defaults:
        return space
    usual = default_space(config, tuple(space.kinds))
    kinds = {kind: {**usual.kinds[kind], **axes} for kind, axes in space.kinds.items()}
    return Space({**usual.axes, **space.axes}, kinds)


def tune(
    config: ExperimentConfig,
    asked: SearchConfig,
    *,
    study: str | None = None,
    timeout: float | None = None,
    progress: bool = True,
    say: Say = lambda text: None,
) -> Tuned:
    """Make the trials of a study that are left, and return what came of all.

    Started again it goes on: a trial that was broken off continues from its checkpoint, and those that follow are the
    ones that would have followed. The same call elsewhere, at the same time, works on the same study.

    They lie in the folder `trials` of the run's, beside which `train` may put the run itself.
    timeout: seconds after which no trial is begun.
    Raises MeshcastError where a path leads nowhere, nothing is trained by gradient descent, the study that was begun is
    another one, or the first trials all fail.
    """
    data = PreparedData()
    plan = planned(config, asked, data, study)
    make_trials(plan, data, timeout=timeout, progress=progress, say=say)
    return outcome(plan)


def make_trials(plan: Plan, data: PreparedData, *, timeout: float | None, progress: bool, say: Say) -> None:
    """Make trials, in this process, until there are none left or the time is over."""
    store, start = plan.open(), time.monotonic()
    while timeout is None or time.monotonic() - start < timeout:
        with _first_of_its_run(), store.next_trial(plan.propose, plan.count) as begun:
            if begun is None:
                return
            try:
                _make(plan, store, begun, data, progress, say)
            except InUseError as error:  # one of the same settings is being made elsewhere
                say(f"trial {begun.number} waits: {error}")
                time.sleep(LOOK_AGAIN)


def outcome(plan: Plan) -> Tuned:
    """Return what came of a study so far, and write it to its folder: trials.csv, and best.yaml where one was good."""
    found = plan.open().trials
    ended = [trial for trial in found if _ended(trial)]
    points = tuple(decoded(plan.space, trial.params) for trial in ended)
    made = with_best_chosen([_trial(plan, trial, point) for trial, point in zip(ended, points, strict=True)])
    _write_csv(plan.folder / "trials.csv", plan.space, made, [trial.number for trial in ended], points)
    best, chosen = plan.folder / "best.yaml", next((trial for trial in made if trial.chosen), None)
    if chosen is not None:
        dump(varied(plan.config, chosen.settings, "what was chosen"), best)
    return Tuned(
        trials=tuple(made),
        numbers=tuple(trial.number for trial in ended),
        points=points,
        running=tuple(trial.number for trial in found if not _ended(trial)),
        importances=importances(found),
        axes=tuple(
            TriedAxis(name, values=axis.values)
            if isinstance(axis, Choice)
            else TriedAxis(name, axis.log, whole=axis.whole)
            for name, axis in plan.space.named.items()
        ),
        folder=plan.folder,
        best=None if chosen is None else best,
    )


def _make(plan: Plan, store: TrialStore, begun: Begun, data: PreparedData, progress: bool, say: Say) -> None:
    settings, broken = settings_of_point(begun.point), list[Exception]()
    label = f"{plan.config.name}, {spelt(settings) if plan.is_grid else f'trial {begun.number}'}"
    place = f"trial {begun.number} ({begun.number + 1} of {plan.count})"

    def watch(update: int, updates: int, rank: float) -> None:
        if store.report(begun, update, rank, plan.pruning, updates):
            reason = "worse than the median" if plan.pruning == "median" else "not among the best third"
            raise PrunedError(f"{reason} of earlier trials after {update:,} of {updates:,} updates")

    def fitting(experiment: ExperimentConfig, folder: Path, **options: Any) -> TrainedEmulator:
        try:
            return fit(experiment, folder, watch=watch, **options)
        except Exception as error:
            if of_the_system(error):
                broken.append(error)
            raise

    say(f"{place}: {spelt(settings)} ...")
    try:
        trial = plan.trial(settings)
    except MeshcastError as error:  # each is allowed, but not all together
        result, updates = Result("", label, plan.asked.seed, "failed", "", {}, {}, str(error)), 0
    else:
        run = Run(label, trial, plan.asked.seed)
        (result,) = run_study([run], plan.results, progress=progress, prepared=data, fitting=fitting)
        if broken:  # a full disk is no fault of the settings: the trial is made again when there is room
            raise broken[0]
        updates = updates_taken(result, plan.results)
    store.tell(begun, result, updates)
    rank = f", counts as {result.rank:.4g}" if result.rank not in (None, result.validation_score) else ""
    say(f"{place}: {result}{rank}")
    trials = store.trials
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    if len(failed) >= HOPELESS and len(failed) == sum(map(_ended, trials)):
        raise MeshcastError(f"The first {len(failed)} trials all failed; the last one: {result.reason}")


@contextmanager
def _first_of_its_run() -> Iterator[None]:
    """Have each of several processes that srun or torchrun started make trials of its own, rather than share one."""
    before = {name: os.environ[name] for name in PROCESS_NUMBERS if name in os.environ}
    os.environ.update(dict.fromkeys(before, "0"))
    try:
        yield
    finally:
        os.environ.update(before)


def _ended(trial: FrozenTrial) -> bool:
    return trial.state not in (TrialState.RUNNING, TrialState.WAITING)


def _write_csv(
    path: Path, space: Space, trials: Sequence[Trial], numbers: Sequence[int], points: Sequence[Mapping[str, Any]]
) -> None:
    """Write a line a trial: its settings by name, and what came of it."""
    columns = ("status", "reason", "updates", "score", "rank", "seconds", "chosen")
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["trial", *space.named, *columns])
        for trial, number, point in zip(trials, numbers, points, strict=True):
            cells = ["" if (value := getattr(trial, name)) is None else value for name in columns]
            rows.writerow([number, *(point.get(name, "") for name in space.named), *cells])


def _trial(plan: Plan, trial: FrozenTrial, point: Mapping[str, Any]) -> Trial:
    found = trial.user_attrs[OUTCOME]
    return Trial(
        label=plan.config.name,
        settings=settings_of_point(point),
        updates=found["updates"],
        score=found["score"] if trial.state == TrialState.COMPLETE and found["status"] == "done" else None,
        seconds=found["seconds"],
        status=found["status"],
        reason=found["reason"],
        rank=found["rank"],
    )
