"""Rows of a comparison once they can forecast: how each came about, what it cost, and where it is unlike the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, is_closed_form, load_emulator
from emulator.data.forecast import Forecast
from emulator.emulator_config import EmulatorConfig
from emulator.foundation.configuration import resolve
from graphs.errors import MeshcastError
from inference.comparison.story import RowInfo, Status, Trial
from training.comparison.configuration import CompareConfig, RowConfig
from training.comparison.forecast_files import ForeignRow
from training.experiment import ExperimentConfig
from training.runs.study import Result, count_parameters, updates_taken

WORST_FIRST: tuple[Status, ...] = ("failed", "diverged", "done", "loaded")
TUNED_OR_SEED = ("learning_rate", "seed")  # that these differ between rows is meant, and stands in columns of its own


@dataclass(frozen=True, eq=False)
class Entry:
    """One seed of a row; with neither an emulator nor a foreign forecast where its run failed."""

    label: str
    seed: int | None
    status: Status
    trained: TrainedEmulator | None = None
    foreign: ForeignRow | None = None
    reason: str = ""
    result: Result | None = None

    @property
    def can_forecast(self) -> bool:
        return self.trained is not None or self.foreign is not None

    @property
    def parameters(self) -> dict[str, int]:
        return {} if self.trained is None else count_parameters(self.trained.emulator)


@dataclass(frozen=True, eq=False)
class Made:
    """A forecast of an entry, and the processor seconds a step of one case took; None where others made it."""

    entry: Entry
    forecast: Forecast
    seconds: float | None = None


def entries_of(
    config: CompareConfig,
    loaded: Mapping[str, TrainedEmulator],
    foreign: Mapping[str, ForeignRow],
    results: Sequence[Result],
) -> list[Entry]:
    """All seeds of all rows, in the order of the configuration, persistence last where it was added."""
    labels = list(dict.fromkeys([*config.rows, *(result.label for result in results)]))
    entries = []
    for label in labels:
        if label in loaded:
            entries.append(Entry(label, None, "loaded", loaded[label]))
        if label in foreign:
            entries.append(Entry(label, None, "loaded", foreign=foreign[label]))
        for result in (result for result in results if result.label == label):
            trained = None
            if result.status != "failed":
                trained = _kept(result.emulator_path(Path(config.results)))
            seed = None if trained is not None and is_closed_form(trained.config) else result.seed
            entries.append(Entry(label, seed, result.status, trained, None, result.reason, result))
    return entries


def _kept(path: Path) -> TrainedEmulator:
    """The emulator of a finished run."""
    try:
        return load_emulator(path)
    except MeshcastError as error:
        raise MeshcastError(f"{error} Remove it and start the comparison again: that run alone is made anew.") from None


def describe_rows(
    config: CompareConfig,
    experiments: Mapping[str, ExperimentConfig],
    entries: Sequence[Entry],
    made: Mapping[str, Made],
    trials: Sequence[Trial],
) -> list[RowInfo]:
    """Every label once, with all its seeds.

    made: by label in the verification.
    """
    infos = []
    for label in dict.fromkeys(entry.label for entry in entries):
        own = [entry for entry in entries if entry.label == label]
        members = {member: item for member, item in made.items() if item.entry.label == label}
        infos.append(_row(config, label, experiments.get(label), own, members, trials))
    return infos


def _row(
    config: CompareConfig,
    label: str,
    experiment: ExperimentConfig | None,
    own: Sequence[Entry],
    members: Mapping[str, Made],
    trials: Sequence[Trial],
) -> RowInfo:
    first = next((entry for entry in own if entry.trained is not None), None)
    trained = None if first is None else first.trained
    network = experiment is not None and not is_closed_form(experiment.emulator)
    folders = [Path(config.results) / entry.result.folder for entry in own if entry.result is not None]
    logs = tuple(folder / "metrics.csv" for folder in folders if (folder / "metrics.csv").is_file())
    seconds = [item.seconds for item in members.values() if item.seconds is not None]
    row = config.rows.get(label, RowConfig(experiment.emulator) if experiment is not None else None)
    settings = next((dict(trial.settings) for trial in trials if trial.label == label and trial.chosen), {})
    if trained is not None:
        settings |= _chosen_in_closed_form(trained.config)
    training = experiment.training if experiment is not None and network else None
    return RowInfo(
        label=label,
        kind="" if row is None else row.kind,
        status=min((entry.status for entry in own), key=WORST_FIRST.index),
        reasons=tuple(_reason(entry) for entry in own if entry.reason),
        members=tuple(members),
        seeds=tuple(item.entry.seed for item in members.values() if item.entry.seed is not None),
        parameters={} if first is None else first.parameters,
        updates=None if training is None else _updates(own, Path(config.results)),
        learning_rate=None if training is None else training.learning_rate,
        history=None if trained is None else trained.emulator.task.history,
        batch_size=None if training is None else training.batch_size,
        training_seconds=tuple(
            entry.result.seconds for entry in own if entry.result and entry.result.seconds is not None
        ),
        inference_seconds=sum(seconds) / len(seconds) if seconds else None,
        regridding=_regridding(own),
        settings=settings,
        differences=tuple(_differences(config, label, experiment, settings)) if network else (),
        logs=logs,
    )


def _reason(entry: Entry) -> str:
    return f"{f'seed {entry.seed}: ' if entry.seed is not None else ''}{entry.reason}"


def _updates(own: Sequence[Entry], results: Path) -> int | None:
    """Of the first seed that was trained to its end, or of the first where none was."""
    runs = [entry.result for entry in own if entry.result is not None]
    runs.sort(key=lambda result: result.status == "failed")
    return updates_taken(runs[0], results) if runs else None


def _regridding(own: Sequence[Entry]) -> str:
    """What a network, an emulator or a forecast file says of it."""
    for entry in own:
        if entry.foreign is not None:
            return entry.foreign.regridding
        if entry.trained is not None:
            emulator = entry.trained.emulator
            places = (emulator, getattr(emulator, "network", None))
            return next((str(text) for place in places if (text := getattr(place, "regridding", ""))), "")
    return ""


def _chosen_in_closed_form(config: EmulatorConfig) -> dict[str, Any]:
    """The radius and penalty a ridge regression chose by rollouts within the training part."""
    for prefix, ridge in (("", config), ("first_guess.", getattr(config, "first_guess", None))):
        if isinstance(ridge, RidgeConfig) and len(ridge.radii) == len(ridge.penalties) == 1:
            return {f"{prefix}radius": ridge.radii[0], f"{prefix}penalty": ridge.penalties[0]}
    return {}


def _differences(
    config: CompareConfig, label: str, experiment: ExperimentConfig | None, tuned: Mapping[str, Any]
) -> list[str]:
    """Where a network row was not given what `training` and `task` give the others; what was tuned stands elsewhere."""
    assert experiment is not None
    said = []
    if experiment.task.history != config.task.history:
        said.append(f"history {experiment.task.history} where the others have {config.task.history}")
    own, common = resolve(experiment.training), resolve(config.training)
    for name, value in own.items():
        if name not in TUNED_OR_SEED and f"training.{name}" not in tuned and value != common[name]:
            said.append(f"training.{name} {value} where the others have {common[name]}")
    if config.parameters is not None and config.rows[label].keep_size:
        said.append(f"its own number of weights where the others come near {config.parameters}")
    return said


def named(made: Sequence[Made], labels: Sequence[str]) -> dict[str, Made]:
    """By label in the verification, which tells seeds apart."""
    return dict(zip(labels, made, strict=True))


def plain(info: RowInfo) -> dict[str, Any]:
    """A row for machines, without paths."""
    return {name: value for name, value in vars(replace(info, logs=())).items() if name != "logs"}
