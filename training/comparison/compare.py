"""Comparisons: emulators trained, loaded or run by others, from the same starts of the test part, in one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.build import TrainedEmulator, load_emulator
from emulator.emulator_config import EmulatorConfig
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from emulator.task import Task
from graphs.atomic_file import refuse_unwritable
from graphs.errors import MeshcastError
from inference.comparison.report import write_comparison
from inference.comparison.story import ComparisonStory, Trial
from inference.scores.scorecard import Verification
from inference.scores.verification import verify
from training.comparison.ablation import expanded
from training.comparison.configuration import (
    CompareConfig,
    RowConfig,
    StartsConfig,
    TuningConfig,
)
from training.comparison.equal_sizes import equally_large
from training.comparison.files import claim, story_of, to_plain, write_files
from training.comparison.forecast_files import ForeignRow, Starts, common_starts, read_row
from training.comparison.ranking import Row, lines_of, ranked
from training.comparison.record import Comparison
from training.comparison.remaining_time import Effort, Timings, effort_of
from training.comparison.rows import Made, describe_rows, entries_of, named
from training.comparison.runs import experiments, runs_of, study_runs
from training.comparison.starts import forecasts_of, refuse_long_history, spread
from training.comparison.tuning import Candidate, candidates, trials, with_chosen
from training.experiment import ExperimentConfig
from training.optimisation.tracking import track_table
from training.runs.run_hash import Fingerprints
from training.runs.study import Result, progress_of, refuse_several_devices, run_study

__all__ = [
    "CompareConfig", "Comparison", "RowConfig", "StartsConfig", "TuningConfig",
    "compare", "expect", "study_runs", "to_plain",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Plan:
    """A comparison checked against its data, nothing trained yet.

    notices: for the report, a sentence each.
    """

    config: CompareConfig
    test: Fields
    task: Task
    loaded: Mapping[str, TrainedEmulator]
    foreign: Mapping[str, ForeignRow]
    starts: Starts
    experiments: Mapping[str, ExperimentConfig]
    candidates: Sequence[Candidate]
    notices: tuple[str, ...]


def compare(
    config: CompareConfig,
    *,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
    command: str = "",
    overwrite: bool = False,
) -> Comparison:
    """Train or load every row, forecast the same starts of the test part, verify, rank, and write one report.

    Settings are tuned and checkpoints chosen on the validation part; the test part is forecast once, when all runs are
    finished. Started again, finished runs are not repeated.

    progress: a bar along each fit; say: takes notices, a line each; command: for the report to quote.
    overwrite: the report of another comparison in the same folder.
    Raises MeshcastError where the configuration, the data or a checkpoint do not fit together, before any training.
    """
    plan = _planned(config, say)
    refuse_unwritable(Path(config.results) / "timings")
    folder = claim(config, overwrite)
    fingerprints, timings = Fingerprints(), Timings(config.results, say)
    say(f"{_effort(plan, fingerprints, timings)}.")
    tuned, made_trials, results = _run(plan, fingerprints, timings, progress, say)
    entries = entries_of(plan.config, plan.loaded, plan.foreign, results)
    able = [entry for entry in entries if entry.can_forecast]
    if not able:
        raise MeshcastError("No row can forecast: " + "; ".join(f"{e.label}: {e.reason}" for e in entries) + ".")
    say(f"forecasting {plan.starts.steps} steps of {plan.task.time_step} with {len(able)} emulators ...")
    made = forecasts_of(able, plan.test, plan.starts, plan.task.time_step, plan.config.data.forcing_tables)
    verification = _verified(made, plan.test)
    by_member = named(made, [scores.label for scores in verification.emulators])
    infos = describe_rows(plan.config, tuned, entries, by_member, made_trials)
    rows = ranked(verification, config.validation.score, {label: _row(item) for label, item in by_member.items()})
    rows += [Row(e.label, e.status, e.reason, result=e.result) for e in entries if not e.can_forecast]
    story = ComparisonStory(
        name=config.name,
        score=config.validation.score,
        reference=made[0].entry.label,
        rows=tuple(infos),
        trials=tuple(made_trials),
        notes=(*plan.notices, *(f"{info.label}: {text}" for info in infos for text in info.differences)),
        command=command,
    )
    lines = lines_of(verification, story)
    reference = verification.emulators[0].label
    comparison = Comparison(tuple(rows), tuple(lines), reference, verification, story, plan.starts, folder)
    write_files(config, comparison)  # before the pictures, which take longest
    forecasts = [item.forecast for item in made]
    write_comparison(
        verification, story, folder, forecasts=forecasts, truth=plan.test, story=story_of(config, comparison, command)
    )
    track_table(config.tracking, config.name, folder, [vars(line) for line in lines])
    return comparison


def expect(config: CompareConfig, *, say: Callable[[str], None] = lambda text: None) -> Effort:
    """What is left to train and about how long it takes; nothing is trained.

    Raises MeshcastError as `compare` does.
    """
    return _effort(_planned(config, say), Fingerprints(), Timings(config.results, say))


def _planned(config: CompareConfig, say: Callable[[str], None]) -> _Plan:
    """All that can be wrong is found here."""
    if config.data.test is None:
        raise MeshcastError("A comparison forecasts the test part: give data.test.source.")
    plain = expanded(config)
    test, mesh = config.data.test.open(), config.data.train.mesh
    if not mesh.same_nodes(test.mesh):
        raise MeshcastError(f"Training data on a {mesh.describe()} but test data on a {test.mesh.describe()}.")
    task = config.task.build(test)
    loaded = {
        label: _load(label, row.checkpoint, test, task.time_step)
        for label, row in plain.rows.items()
        if row.checkpoint is not None
    }
    planned = experiments(plain)
    refuse_long_history(plain.data, planned)
    refuse_several_devices(runs_of(plain, planned))
    tasks = [experiment.task.build(test) for experiment in planned.values()]
    emulators = [row.emulator for row in plain.rows.values()]
    tasks += [emulator.build(task, test.mesh).task for emulator in emulators if _is_baseline(emulator)]
    tasks += [trained.emulator.task for trained in loaded.values()]
    starts = spread(plain.forecast, [task, *tasks], test)
    foreign = {
        label: read_row(label, row, test, task) for label, row in plain.rows.items() if row.forecast_file is not None
    }
    starts, notices = common_starts(list(foreign.values()), starts, task.time_step)
    notices += [text for row in foreign.values() for text in row.notices]
    planned = equally_large(plain, planned)
    tried = candidates(plain.tuning, planned)
    for text in notices:
        say(f"{text}.")
    return _Plan(plain, test, task, loaded, foreign, starts, planned, tried, tuple(notices))


def _effort(plan: _Plan, fingerprints: Fingerprints, timings: Timings) -> Effort:
    """Trials and runs that are left; the runs of a row whose trials are not finished are."""
    results = plan.config.results
    tried = progress_of([candidate.run for candidate in plan.candidates], results, fingerprints)
    every = [(candidate, progress.result) for candidate, progress in zip(plan.candidates, tried, strict=True)]
    waiting = {candidate.label for candidate, result in every if result is None}
    finished = [(c, result) for c, result in every if result is not None and c.label not in waiting]
    made = trials([candidate for candidate, _ in finished], [result for _, result in finished], results)
    runs = progress_of(runs_of(plan.config, with_chosen(plan.experiments, made)), results, fingerprints, emulators=True)
    runs = [replace(run, result=None, updates=0) if run.run.label in waiting else run for run in runs]
    return effort_of([*runs, *tried], timings)


def _run(
    plan: _Plan, fingerprints: Fingerprints, timings: Timings, progress: bool, say: Callable[[str], None]
) -> tuple[dict[str, ExperimentConfig], list[Trial], list[Result]]:
    """All trials and then all runs, those finished taken from their files: experiments as tuned, trials, results."""
    results = plan.config.results
    tried = run_study(
        [candidate.run for candidate in plan.candidates],
        results,
        progress=progress,
        say=say,
        fingerprints=fingerprints,
        timed=timings.of_run,
    )
    made = trials(plan.candidates, tried, results)
    tuned = with_chosen(plan.experiments, made)
    for trial in made:
        if trial.chosen:
            say(f"{trial.label}: {', '.join(f'{path}={value}' for path, value in trial.settings.items())} chosen")
    runs = runs_of(plan.config, tuned)
    return tuned, made, run_study(
        runs, results, progress=progress, say=say, emulators=True, fingerprints=fingerprints, timed=timings.of_run
    )  # fmt: skip


def _verified(made: Sequence[Made], test: Fields) -> Verification:
    climatologies = [
        item.entry.trained.emulator
        for item in made
        if item.entry.trained is not None and isinstance(item.entry.trained.config, ClimatologyConfig)
    ]
    return verify(
        [item.forecast for item in made],
        test,
        climatology=climatologies[0] if climatologies else None,
        baselines=[
            item.entry.label
            for item in made
            if item.entry.trained is not None and isinstance(item.entry.trained.config, BaselineConfig)
        ],
    )


def _row(made: Made) -> Row:
    entry = made.entry
    return Row(entry.label, entry.status, entry.reason, parameters=entry.parameters, result=entry.result)


def _is_baseline(emulator: EmulatorConfig | None) -> TypeGuard[BaselineConfig]:
    return isinstance(emulator, BaselineConfig)


def _load(label: str, checkpoint: str, test: Fields, time_step: TimeStep) -> TrainedEmulator:
    path = Path(checkpoint)
    trained = load_emulator(path / "emulator.safetensors" if path.is_dir() else path)
    _refuse_misfit(label, trained, test, time_step)
    return trained


def _refuse_misfit(label: str, trained: TrainedEmulator, test: Fields, time_step: TimeStep) -> None:
    """Raise MeshcastError where an emulator cannot start from the test part."""
    emulator = trained.emulator
    units = dict(zip(test.variables, test.units, strict=True))
    faults = []
    if not emulator.mesh.same_nodes(test.mesh):
        faults.append(f"it lives on a {emulator.mesh.describe()}, the test part on a {test.mesh.describe()}")
    if emulator.task.time_step != time_step:
        faults.append(f"its time step is {emulator.task.time_step}, the comparison's {time_step}; set task.time_step")
    for variable in emulator.task.with_role("prognostic"):
        if variable.name not in units:
            faults.append(f"the test part has no {variable.name}; it has {', '.join(test.variables)}")
        elif units[variable.name] != variable.units:
            faults.append(f"{variable.name} is in {variable.units}, in the test part in {units[variable.name]}")
    if faults:
        raise MeshcastError(f"{label} cannot forecast {test.source}: {'; '.join(faults)}.")
