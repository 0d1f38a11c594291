"""Comparisons: several emulators trained or loaded, forecasting the same starts of the test part, in one report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator

from emulator.baselines.build import BaselineConfig, build_baseline
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.build import EmulatorConfig, TrainedEmulator, is_closed_form, load_emulator
from emulator.configuration import dump, load, resolve
from emulator.data.fields import Fields
from emulator.data.forecast import Forecast
from emulator.data.starts import spread_starts
from emulator.task import Task
from emulator.time_step import TimeStep
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from inference.report import Story, write_report
from inference.scorecard import Verification
from inference.verification import verify
from training.experiment import DataConfig, ExperimentConfig, TaskConfig, TrainingConfig, ValidationConfig
from training.ranking import Row, by_lead, ranked
from training.references import same_starts
from training.study import Result, Run, count_parameters, run_study


@dataclass(frozen=True)
class CheckpointConfig:
    """An emulator trained before.

    path: its emulator.safetensors, or the run folder that holds it.
    """

    path: str
    kind: Literal["checkpoint"] = "checkpoint"


RowConfig = Annotated[EmulatorConfig | CheckpointConfig, Discriminator("kind")]


@dataclass(frozen=True)
class StartsConfig:
    """Which forecasts are made of the test part.

    steps: lead times.
    every: steps between initial times of real data; simulated trajectories start once, at their first state.
    cases: at most so many starts, evenly spread; all by default.
    """

    steps: int = 20
    every: int = 1
    cases: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "every", "cases"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise MeshcastError(f"forecast.{name} must be at least 1, but is {value}.")


@dataclass(frozen=True)
class CompareConfig:
    """Everything a comparison needs; `meshcast compare` reads it from one YAML.

    emulators: by label, the first is the one others are measured against; persistence is always added.
    own_training: of a label, the keys of `training` that differ.
    seeds: of the networks; closed forms are fitted once.
    validation: its score chooses checkpoints, and over the test part's lead times it ranks the rows.
    output: the report goes to OUTPUT/NAME, runs to folders in it; results: one file a finished run.
    """

    name: str
    data: DataConfig
    task: TaskConfig
    emulators: dict[str, RowConfig]
    training: TrainingConfig = field(default_factory=TrainingConfig)
    own_training: dict[str, dict[str, Any]] = field(default_factory=dict)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seeds: tuple[int, ...] = (0,)
    forecast: StartsConfig = field(default_factory=StartsConfig)
    output: str = "runs"
    results: str = "results"

    def __post_init__(self) -> None:
        if not self.emulators:
            raise MeshcastError("A comparison needs at least one emulator: emulators: {LABEL: {kind: gnn}}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise MeshcastError(f"seeds must be different numbers from 0, but are {list(self.seeds)}.")
        if strangers := sorted(set(self.own_training) - set(self.emulators)):
            raise MeshcastError(
                f"own_training names {', '.join(strangers)}, but emulators are {', '.join(self.emulators)}."
            )


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    rows: best first, those without a score last.
    reference: label of the row that differences are taken to.
    """

    rows: tuple[Row, ...]
    reference: str
    verification: Verification
    folder: Path


def compare(
    config: CompareConfig, *, progress: bool = True, say: Callable[[str], None] = lambda text: None, command: str = ""
) -> Comparison:
    """Train or load every row, forecast the same starts of the test part, verify, rank, and write one report.

    Started again, finished runs are not repeated.

    progress: a bar along each fit; say: takes notices, a line each; command: for the report to quote.
    Raises MeshcastError where the configuration, the data or a checkpoint do not fit together, before any training.
    """
    if config.data.test is None:
        raise MeshcastError("A comparison forecasts the test part: give data.test.source.")
    test, mesh = config.data.test.open(), config.data.train.mesh
    if not mesh.same_nodes(test.mesh):
        raise MeshcastError(f"Training data on a {mesh.describe()} but test data on a {test.mesh.describe()}.")
    task = config.task.build(test)
    loaded = {
        label: _load(label, row, test, task.time_step) for label, row in config.emulators.items() if _is_checkpoint(row)
    }
    runs = study_runs(config)
    own = [build_baseline(row, task, test.mesh).task for row in config.emulators.values() if _is_baseline(row)]
    starts = _starts(config, [task, *own, *(trained.emulator.task for trained in loaded.values())], test)
    results = run_study(runs, config.results, progress=progress, say=say, emulators=True)
    entries = _in_order(config, loaded, results)
    made = [entry for entry in entries if entry.trained is not None]
    if not made:
        raise MeshcastError("No row can forecast: " + "; ".join(f"{e.label}: {e.reason}" for e in entries) + ".")
    say(f"forecasting {config.forecast.steps} steps of {task.time_step} with {len(made)} emulators ...")
    forecasts = _forecasts(config, made, test, starts)
    climatologies = [e.trained.emulator for e in made if e.trained and isinstance(e.trained.config, ClimatologyConfig)]
    verification = verify(
        forecasts,
        test,
        climatology=climatologies[0] if climatologies else None,
        baselines=[e.label for e in made if e.trained and isinstance(e.trained.config, get_args(BaselineConfig))],
    )
    labels = [scores.label for scores in verification.emulators]
    rows = ranked(verification, config.validation.score, dict(zip(labels, map(_row, made), strict=True)))
    rows += [_row(entry) for entry in entries if entry.trained is None]
    folder = Path(config.output) / config.name
    comparison = Comparison(tuple(rows), labels[0], verification, folder)
    write_report(verification, folder, forecasts=forecasts, truth=test, story=_story(config, comparison, command))
    dump(config, folder / "compare.yaml")
    with atomic_file(folder / "comparison.json") as part:
        part.write_text(json.dumps(to_plain(config, comparison), indent=1) + "\n", encoding="utf-8")
    return comparison


def study_runs(config: CompareConfig) -> list[Run]:
    """The runs a comparison trains: networks once a seed, closed forms once, persistence always."""
    rows = dict(config.emulators)
    if not any(isinstance(row, PersistenceConfig) for row in rows.values()):
        if "persistence" in rows:
            raise MeshcastError("The label persistence is kept for persistence. Name that emulator otherwise.")
        rows["persistence"] = PersistenceConfig()
    runs = []
    for label, row in rows.items():
        if isinstance(row, CheckpointConfig):
            continue
        experiment = ExperimentConfig(
            name=config.name,
            data=replace(config.data, test=None),  # no run sees it, and a longer test part repeats none
            task=config.task,
            emulator=row,
            training=_training_of(config, label),
            validation=config.validation,
            output=config.output,
        )
        seeds = (0,) if is_closed_form(row) else config.seeds
        runs += [Run(label, experiment, seed) for seed in seeds]
    return runs


def _training_of(config: CompareConfig, label: str) -> TrainingConfig:
    own = config.own_training.get(label, {})
    if not own:
        return config.training
    try:
        return load(TrainingConfig, {**resolve(config.training), **own})
    except MeshcastError as error:
        raise MeshcastError(f"own_training.{label}: {error}") from None


# Rows -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Entry:
    """A row before it is ranked; without an emulator where its run failed."""

    label: str
    seed: int | None
    trained: TrainedEmulator | None
    status: str
    reason: str = ""
    result: Result | None = None


def _is_checkpoint(row: Any) -> bool:
    return isinstance(row, CheckpointConfig)


def _is_baseline(row: Any) -> TypeGuard[BaselineConfig]:
    return isinstance(row, get_args(BaselineConfig))


def _load(label: str, row: Any, test: Fields, time_step: TimeStep) -> TrainedEmulator:
    path = Path(row.path)
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


def _in_order(config: CompareConfig, loaded: dict[str, TrainedEmulator], results: Sequence[Result]) -> list[_Entry]:
    """All rows, in the order of the configuration, persistence last where it was added."""
    labels = list(dict.fromkeys([*config.emulators, *(result.label for result in results)]))
    entries = []
    for label in labels:
        if label in loaded:
            entries.append(_Entry(label, None, loaded[label], "loaded"))
        for result in (result for result in results if result.label == label):
            trained = None
            if result.status != "failed":
                trained = load_emulator(result.emulator_path(Path(config.results)))
            seed = None if trained is not None and is_closed_form(trained.config) else result.seed
            entries.append(_Entry(label, seed, trained, result.status, result.reason, result))
    return entries


def _row(entry: _Entry) -> Row:
    parameters = {} if entry.trained is None else count_parameters(entry.trained.emulator)
    return Row(entry.label, entry.status, entry.reason, parameters=parameters, result=entry.result)


Starts = tuple[NDArray[np.int64], NDArray[np.int64]]


def _starts(config: CompareConfig, tasks: Sequence[Task], test: Fields) -> Starts:
    """Initial times and trajectories [case] from which every row can start, the longest history deciding."""
    wanted = config.forecast
    longest = max(tasks, key=lambda task: task.history)
    init_time, trajectory = spread_starts(test, longest, wanted.steps)
    if test.ensemble_axis != "trajectory":
        step = np.searchsorted(test.times, init_time)
        kept = (step - step[0]) % (wanted.every * longest.time_step.frames(test.time_step)) == 0
        init_time, trajectory = init_time[kept], trajectory[kept]
    if wanted.cases is not None and wanted.cases < len(init_time):
        chosen = np.linspace(0, len(init_time) - 1, wanted.cases).round().astype(int)
        init_time, trajectory = init_time[chosen], trajectory[chosen]
    return init_time, trajectory


def _forecasts(config: CompareConfig, entries: Sequence[_Entry], test: Fields, starts: Starts) -> list[Forecast]:
    """One forecast a row, all from the same starts; a row that blew up ends in NaN."""
    rows = [replace(entry.trained, name=entry.label) for entry in entries if entry.trained is not None]
    forecasts = same_starts(rows, test, *starts, config.forecast.steps, config.data.forcing_tables)
    return [
        replace(
            forecast,
            values=np.where(np.isfinite(forecast.values), forecast.values, np.float32(np.nan)),
            attributes={**forecast.attributes} | ({} if entry.seed is None else {"seed": str(entry.seed)}),
        )
        for forecast, entry in zip(forecasts, entries, strict=True)
    ]


# Files ----------------------------------------------------------------------------------------------------------------


def _story(config: CompareConfig, comparison: Comparison, command: str) -> Story:
    """What the report tells beside the scores: the ranking, and the loss of the first network."""
    level = f"{100 * comparison.verification.level:g} %"
    facts = {}
    for number, row in enumerate(comparison.rows, 1):
        words = [f"{row.label}: {row.status}{': ' * bool(row.reason)}{row.reason}"]
        if row.score is not None:
            words.append(f"score {row.score:.4g}{_between(row.interval)}")
        if row.difference is not None:
            words.append(f"{row.difference:+.4g}{_between(row.difference_interval)} against {comparison.reference}")
        if row.result is not None and row.result.update is not None:
            words.append(f"kept after {row.result.update} updates, {row.result.seconds:.0f} s")
        words += [f"{count} {kind} weights" for kind, count in row.parameters.items() if count]
        facts[f"rank {number}"] = ", ".join(words)
    folders = [Path(config.results) / row.result.folder for row in comparison.rows if row.result is not None]
    logs = [folder / "metrics.csv" for folder in folders if (folder / "metrics.csv").is_file()]
    best = comparison.rows[0]
    score = f"the geometric mean over lead times of {config.validation.score}"
    found = f"{best.label} is best by {score}" if best.score is not None else f"No emulator has a finite {score[4:]}"
    return Story(
        title=f"{config.name}: {len(comparison.rows)} emulators compared",
        summary=(
            f"{found}, from the same {comparison.verification.emulators[0].num_cases} starts. Intervals are of {level}."
        ),
        command=command,
        log=logs[0] if logs else None,
        facts=facts,
    )


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.3g} to {interval[1]:.3g})"


def to_plain(config: CompareConfig, comparison: Comparison) -> dict[str, Any]:
    """The comparison for machines: the ranking, and RMSE by lead time with paired differences to the first row."""
    verification = comparison.verification
    return {
        "name": config.name,
        "score": f"geometric mean over lead times of {config.validation.score}",
        "reference": comparison.reference,
        "level": verification.level,
        "rows": [asdict(row) for row in comparison.rows],
        "lead_steps": verification.emulators[0].lead_steps.tolist(),
        "time_step": str(verification.time_step),
        "variables": dict(zip(verification.variables, verification.units, strict=True)),
        "rmse": {
            scores.label: by_lead(verification, scores, comparison.reference) for scores in verification.emulators
        },
        "left_out": list(verification.left_out),
    }
