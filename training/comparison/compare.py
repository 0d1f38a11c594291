"""Comparisons: emulators trained here or before, and forecast files, from the same starts, in one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.build import TrainedEmulator, load_emulator
from emulator.fields import Fields
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.threads import num_threads
from emulator.foundation.time_step import TimeStep
from emulator.networks.keras_networks.keras_models import KerasConfig
from emulator.networks.keras_networks.tensorflow_library import refuse_absent
from emulator.task import Task, names_of
from graphs.atomic_file import refuse_unwritable
from graphs.errors import MeshcastError, MissingExtraError
from graphs.output_lock import output_lock
from inference.comparison.climate_table import climate_rows
from inference.comparison.ranking import rank
from inference.comparison.record import Comparison, Row, Seed, Trial
from inference.comparison.report import write_comparison
from inference.scenarios.scores import ClimateTruth
from inference.scores.scorecard import Verification
from inference.scores.verification import verify
from training.comparison.climate import truths
from training.comparison.configuration import CompareConfig
from training.comparison.files import ranking_lines, take_folder, to_plain, write_files
from training.comparison.forecast_files import at_starts, common_starts, read_row
from training.comparison.methods import with_energy, write_methods
from training.comparison.remaining_time import RemainingTime, Timings, remaining_time
from training.comparison.rows import rows_of
from training.comparison.runs import equally_large, expanded, experiments, runs_of
from training.comparison.starts import (
    SharedForcings,
    Starts,
    forecast_from,
    refuse_long_history,
    refuse_scores_of_learned,
    spread,
)
from training.comparison.tuning import Candidate, candidates, trials, with_chosen
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.run_folder import folder_named
from training.runs.fit import threads_of_run
from training.runs.study import Result, count_parameters, progress_of, refuse_several_devices, run_study
from training.tracking.table import refuse_absent_trackers, track_table

__all__ = ["CompareConfig", "Comparison", "compare", "expect", "to_plain"]


@dataclass(frozen=True, eq=False)
class _Plan:
    """Holds a comparison that was checked against its data, nothing trained yet.

    given: by label the seed of each row that is not trained: a checkpoint, a forecast file, or one without its extra.
    notices: for the report, a sentence each. truths: of climates, by variable; empty where none is asked for.
    """

    config: CompareConfig
    test: Fields
    task: Task
    given: Mapping[str, Seed]
    starts: Starts
    experiments: Mapping[str, ExperimentConfig]
    candidates: Sequence[Candidate]
    notices: tuple[str, ...]
    truths: Mapping[str, ClimateTruth]


def compare(
    config: CompareConfig,
    *,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
    command: str = "",
    overwrite: bool = False,
) -> Comparison:
    """Train or load every row, forecast the same starts of the test data, verify, rank, and write one report.

    Settings are tuned and checkpoints chosen on the validation data; the test data are forecast once, when all runs
    are finished. Started again, finished runs are not repeated.

    progress: a bar along each fit; say: takes notices, a line each; command: for the report to quote.
    overwrite: the report of another comparison in the same folder.
    Raises MeshcastError where the configuration, the data or a checkpoint do not fit together, or another process
    writes the same comparison, before any training.
    """
    with output_lock(folder_named(config.output, config.name), folder=True):
        return _compared(config, progress, say, command, overwrite)


def _compared(
    config: CompareConfig, progress: bool, say: Callable[[str], None], command: str, overwrite: bool
) -> Comparison:
    keep_freed_memory()
    refuse_absent_trackers(config.tracking)
    data = PreparedData()
    plan = _planned(config, data, say)
    refuse_unwritable(Path(config.results) / "timings")
    folder = take_folder(config, overwrite)
    timings = Timings(config.results, data, say)
    say(f"{_remaining(plan, data, timings)}.")
    tuned, tried, results, fits = _run(plan, data, timings, progress, say)
    rows = with_energy(rows_of(plan.config, tuned, results, plan.given, tried), fits, config)
    seeds = [seed for row in rows for seed in row.seeds]
    able = [seed for seed in seeds if seed.emulator is not None or seed.forecast is not None]
    if not able:
        raise MeshcastError("No row can forecast: " + "; ".join(f"{s.label}: {s.reason}" for s in seeds) + ".")
    say(f"forecasting {plan.starts.steps} steps of {plan.task.time_step} with {len(able)} emulators ...")
    shared: SharedForcings = {}
    rows = [_with_forecasts(row, plan, shared) for row in rows]
    comparison = rank(
        config.name,
        rows,
        _verified(rows, plan.test, config.wet),
        config.validation.score,
        trials=tuple(tried),
        notes=(*plan.notices, *(f"{row.label}: {text}" for row in rows for text in row.differences)),
        command=command,
        folder=folder,
    )
    if plan.truths:
        comparison = replace(comparison, climate=tuple(climate_rows(rows, plan.truths, names_of(plan.task.predicted))))
    write_files(config, comparison)  # before the pictures, which take longest
    write_methods(plan.config, tuned, comparison, data)
    write_comparison(comparison, folder, truth=plan.test)
    track_table(config.tracking, config.name, folder, Path(config.output), ranking_lines(comparison), say)
    return comparison


def expect(config: CompareConfig, *, say: Callable[[str], None] = lambda text: None) -> RemainingTime:
    """Return what is left to train and about how long it takes; nothing is trained.

    Raises MeshcastError as `compare` does.
    """
    data = PreparedData()
    return _remaining(_planned(config, data, say), data, Timings(config.results, data, say))


def _planned(config: CompareConfig, data: PreparedData, say: Callable[[str], None]) -> _Plan:
    """Return the plan of a comparison; all that can be wrong is found here."""
    if config.data.test is None:
        raise MeshcastError("A comparison forecasts the test data: give data.test.source.")
    plain = expanded(config)
    test, train = data.fields(config.data.test), data.fields(config.data.train)
    mesh = train.mesh
    if not mesh.same_nodes(test.mesh):
        raise MeshcastError(f"Training data on a {mesh.describe()} but test data on a {test.mesh.describe()}.")
    task = config.task.resolved(train).build(test)
    given = _loaded(plain, test, task.time_step)
    notices = [
        f"{label} is left out: {seed.reason.rstrip('.')}" for label, seed in given.items() if seed.emulator is None
    ]
    planned = {label: experiment for label, experiment in experiments(plain).items() if label not in given}
    refuse_long_history(plain.data, planned, data)
    refuse_several_devices(runs_of(plain, planned))
    tasks = [experiment.task.resolved(train).build(test) for experiment in planned.values()]
    emulators = [row.emulator for row in plain.rows.values()]
    tasks += [found.build(task, test.mesh).task for found in emulators if isinstance(found, BaselineConfig)]
    tasks += [seed.emulator.emulator.task for seed in given.values() if seed.emulator is not None]
    starts = spread(plain.forecast, [task, *tasks], test)
    files = [read_row(label, row, test, task) for label, row in plain.rows.items() if row.forecast_file is not None]
    starts, left_out = common_starts([forecast for forecast, _ in files], starts, task.time_step)
    notices += [*left_out, *(text for _, changes in files for text in changes)]
    for forecast, _ in files:
        given[forecast.name] = Seed(forecast.name, "loaded", forecast=at_starts(forecast, starts, task.time_step))
    if planned:
        refuse_scores_of_learned(starts, task, test, plain.data, data)
    planned = equally_large(plain, planned, data)
    tried = candidates(plain.tuning, planned)
    climates = (
        {}
        if plain.climate is None
        else truths(
            plain.climate,
            task,
            data.fields(plain.data.train),
            test,
            starts.init_time,
            starts.trajectory,
            starts.lead_steps,
        )
    )
    for text in notices:
        say(f"{text}.")
    return _Plan(plain, test, task, given, starts, planned, tried, tuple(notices), climates)


def _remaining(plan: _Plan, data: PreparedData, timings: Timings) -> RemainingTime:
    """Return trials and runs that are left; the runs of a row whose trials are not finished are."""
    results = plan.config.results
    tried = progress_of([candidate.run for candidate in plan.candidates], results, data)
    every = [(candidate, progress.result) for candidate, progress in zip(plan.candidates, tried, strict=True)]
    waiting = {candidate.label for candidate, result in every if result is None}
    finished = [(c, result) for c, result in every if result is not None and c.label not in waiting]
    tried_so_far = trials([candidate for candidate, _ in finished], [result for _, result in finished], results)
    runs = progress_of(runs_of(plan.config, with_chosen(plan.experiments, tried_so_far)), results, data, emulators=True)
    runs = [replace(run, result=None, updates=0) if run.run.label in waiting else run for run in runs]
    return remaining_time([*runs, *tried], timings)


def _run(
    plan: _Plan, data: PreparedData, timings: Timings, progress: bool, say: Callable[[str], None]
) -> tuple[dict[str, ExperimentConfig], list[Trial], list[Result], list[tuple[str, Result]]]:
    """Run all trials and then all runs that are not finished.

    Return the tuned experiments, trials and results; and the results of trials and runs, each with its row's label.
    """
    results = plan.config.results
    study = partial(run_study, results=results, progress=progress, say=say, prepared=data, timed=timings.parts)
    tried = study([candidate.run for candidate in plan.candidates])
    found = trials(plan.candidates, tried, results)
    tuned = with_chosen(plan.experiments, found)
    for trial in found:
        if trial.chosen:
            say(f"{trial.label}: {', '.join(f'{path}={value}' for path, value in trial.settings.items())} chosen")
    fitted = study(runs_of(plan.config, tuned), emulators=True)
    labelled = [(candidate.label, result) for candidate, result in zip(plan.candidates, tried, strict=True)]
    return tuned, found, fitted, [*labelled, *((result.label, result) for result in fitted)]


def _with_forecasts(row: Row, plan: _Plan, shared: SharedForcings) -> Row:
    assert plan.config.data.test is not None
    tables = plan.config.data.tables_of(plan.config.data.test)
    seeds = []
    for seed in row.seeds:
        with num_threads(threads_of_run(seed.run, plan.config.results)):
            seeds.append(forecast_from(seed, plan.test, plan.starts, tables, shared))
    return replace(row, seeds=tuple(seeds))


def _verified(rows: Sequence[Row], test: Fields, wet: Mapping[str, float]) -> Verification:
    """Return the scores of all seeds that forecast, in the order of the rows."""
    seeds = [seed for row in rows for seed in row.forecast_seeds]
    trained = [(seed.label, seed.emulator) for seed in seeds if seed.emulator is not None]
    climatologies = [found.emulator for _, found in trained if isinstance(found.config, ClimatologyConfig)]
    return verify(
        [seed.forecast for seed in seeds if seed.forecast is not None],
        test,
        climatology=climatologies[0] if climatologies else None,
        baselines=[label for label, found in trained if isinstance(found.config, BaselineConfig)],
        wet=wet,
    )


def _loaded(config: CompareConfig, test: Fields, time_step: TimeStep) -> dict[str, Seed]:
    """Return the seeds of checkpoints, and of the rows that need an extra which is not installed."""
    given = {}
    for label, row in config.rows.items():
        try:
            if row.checkpoint is not None:
                trained = _load(label, row.checkpoint, test, time_step)
                parameters = count_parameters(trained.emulator)
                given[label] = Seed(label, "loaded", emulator=trained, parameters=parameters)
            elif isinstance(row.emulator, KerasConfig):
                refuse_absent(row.emulator.kind)
        except MissingExtraError as error:
            given[label] = Seed(label, "unavailable", reason=str(error))
    return given


def _load(label: str, checkpoint: str, test: Fields, time_step: TimeStep) -> TrainedEmulator:
    """Return the emulator of a checkpoint; raises MeshcastError where it cannot start from the test data."""
    trained = load_emulator(checkpoint)
    emulator = trained.emulator
    units = dict(zip(test.variables, test.units, strict=True))
    faults = []
    if not emulator.mesh.same_nodes(test.mesh):
        faults.append(f"it lives on a {emulator.mesh.describe()}, the test data on a {test.mesh.describe()}")
    if emulator.task.time_step != time_step:
        faults.append(f"its time step is {emulator.task.time_step}, the comparison's {time_step}; set task.time_step")
    for variable in emulator.task.with_role("prognostic"):
        if variable.name not in units:
            faults.append(f"the test data have no {variable.name}, but {', '.join(test.variables)}")
        elif units[variable.name] != variable.units:
            faults.append(f"{variable.name} is in {variable.units}, in the test data in {units[variable.name]}")
    if faults:
        raise MeshcastError(f"{label} cannot forecast {test.source}: {'; '.join(faults)}.")
    return trained
