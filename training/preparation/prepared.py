"""An experiment with its data opened: task, statistics, forcings and windows, from the training part alone."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emulator.build import TrainedEmulator
from emulator.data.forcing_sources import PATHWAY, forcings_of, read_table
from emulator.emulator_config import EmulatorConfig
from emulator.fields import Fields
from emulator.forcings import STATIC_FEATURES, Forcings
from emulator.foundation.configuration import resolve
from emulator.harmonic_fields import HarmonicFields
from emulator.normalise import partners_of
from emulator.protocol import Emulator
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from training.experiment import DataConfig, DataPart, ExperimentConfig
from training.preparation.data_checks import (
    description_of,
    refuse_holes,
    refuse_holes_of_starts,
    refuse_learned_test,
    refuse_overlap,
)
from training.preparation.symmetries import symmetries_of
from training.preparation.turning import turning_of
from training.preparation.windows import Windows
from training.shards import refuse_unshardable
from training.source_commit import source_commit

T = TypeVar("T")
log = logging.getLogger(__name__)


class PreparedData:
    """The data of a study, opened, fingerprinted and prepared once for all runs that share them.

    Fields of at most `most` splits are kept, and as many pairs of data and task; those that were not used for longest
    are given up.
    """

    def __init__(self, most: int = 4) -> None:
        self.most = most
        self._fields: dict[str, Fields] = {}
        self._prepared: dict[str, Prepared] = {}
        self._fingerprints: dict[str, str] = {}

    def fields(self, split: DataPart, keep_in_memory: bool = True) -> Fields:
        """Return the opened fields of a split."""
        return _kept(self._fields, _key(split), self.most, split.open if keep_in_memory else lambda: split.open(False))

    def prepare(self, config: ExperimentConfig) -> Prepared:
        """Return `prepare(config)`, what follows from data and task alone shared with other experiments."""
        key = _key([replace(config.data, test=None), config.task])
        return replace(_kept(self._prepared, key, self.most, lambda: prepare(config, self)), config=config)

    def fingerprint(self, split: DataPart) -> str:
        """Return the fingerprint of a split."""
        return _kept(self._fingerprints, _key(split), sys.maxsize, lambda: fingerprint(self.fields(split)))

    def fingerprints(self, data: DataConfig) -> dict[str, str]:
        """Return the fingerprint of each split that a run learns from, and of each forcing table."""
        own = (*data.train.forcing_tables, *data.validation.forcing_tables)
        tables = {  # by number, since a hash must not tell where a table lies
            f"forcing table {number}": hashlib.sha256(_bytes_of(table)).hexdigest()[:16]
            for number, table in enumerate((*data.forcing_tables, *own))
        }
        return {"train": self.fingerprint(data.train), "validation": self.fingerprint(data.validation)} | tables


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment with its data opened.

    part: the training part, which is all that a closed form, the scales and the first guess may see.
    valid: [node, predicted] where the training data ever have a value; None where everywhere.
    fingerprint: of the training data.
    fitted: what was fitted on the training part and is the same for every experiment with this configuration of it.
    """

    config: ExperimentConfig
    task: Task
    part: TrainingPart
    validation: Fields
    validation_forcings: Forcings
    valid: NDArray[np.bool_] | None
    fingerprint: str
    fitted: dict[str, Any] = field(default_factory=dict)

    def once(self, config: Any, fit: Callable[[], T]) -> T:
        """Return what `fit` finds on the training part, computed once for each configuration."""
        return _kept(self.fitted, _key(config), sys.maxsize, fit)

    @property
    def train(self) -> Fields:
        return self.part.fields

    def description(self, data: PreparedData) -> dict[str, dict[str, Any]]:
        """Return what the data are that a run learns from, by part: every value of training, samples of the others."""
        kept, train = self.config.data, self.train
        if isinstance(train, HarmonicFields):
            values = train.digest(names_of(self.task.predicted))
        else:
            values = self.part.survey(self.task).digest
        tables = {key: value for key, value in data.fingerprints(kept).items() if key not in ("train", "validation")}
        return {
            "training": description_of(self.train, values, self.fingerprint),
            "validation": description_of(self.validation, "", data.fingerprint(kept.validation)),
            "forcing": tables,
        }

    def trained(self, emulator: Emulator, config: EmulatorConfig, **outcome: Any) -> TrainedEmulator:
        """Return an emulator as a checkpoint holds it, with its training: where from, on what, how split.

        config: of the emulator, the first guess resolved. outcome: of the training, further metadata.
        """
        fields = self.train
        dataset = {
            "source": fields.source,
            "attributes": dict(fields.attributes),
            "variables": list(fields.variables),
            "first": int(fields.times[0]),
            "last": int(fields.times[-1]),
            "fingerprint": self.fingerprint,
        }
        metadata = {"experiment": resolve(self.config), "dataset": dataset, **outcome}
        if commit := source_commit():
            metadata["commit"] = commit
        if ranges := self.part.forcing_ranges(self.task):
            metadata["forcing_ranges"] = ranges
        statistics = self.part.statistics(self.task)
        return TrainedEmulator(self.config.name, emulator, config, statistics, metadata, self.valid)


def prepare(config: ExperimentConfig, data: PreparedData | None = None) -> Prepared:
    """Return the experiment with its data opened, its task, and what a training may see of them."""
    data = data or PreparedData()
    refuse_unshardable(config)
    whole = config.training.shards == 1  # else every process keeps its own nodes alone
    train, validation = (data.fields(split, whole) for split in (config.data.train, config.data.validation))
    if not train.mesh.same_nodes(validation.mesh):
        raise MeshcastError(
            f"Training data on a {train.mesh.describe()} but validation data on a {validation.mesh.describe()}."
        )
    if train.time_step != validation.time_step:
        raise MeshcastError(
            f"Training data with a time step of {train.time_step} but validation data with one of "
            f"{validation.time_step}. Select every n-th date of one with `frequency`."
        )
    for notice in dict.fromkeys((*train.notices, *validation.notices)):
        log.warning("%s", notice)
    task = config.task.build(train)
    for split in (config.data.train, config.data.validation):
        if split.harmonics is not None:
            split.harmonics.refuse_other_winds(partners_of(task))
    for name in task.static:
        if name not in train.variables and name not in STATIC_FEATURES:
            raise MeshcastError(
                f"No source for the static variable {name}: the data hold {', '.join(train.variables)}, computed are "
                f"{', '.join(STATIC_FEATURES)}."
            )
    names = names_of(task.predicted)
    forcings, later = (
        forcings_of(task, part.mesh, part, config.data.tables_of(split))
        for part, split in ((train, config.data.train), (validation, config.data.validation))
    )
    part = TrainingPart(train, forcings=forcings)
    part.statistics(task)  # a variable without a value is found before anything is built
    return Prepared(config, task, part, validation, later, _valid(train, names), data.fingerprint(config.data.train))


def windows_of(prepared: Prepared) -> tuple[Windows, Windows]:
    """Return training windows with noise, and validation starts spread over the validation part."""
    config, task = prepared.config, prepared.task
    training, validation = config.training, config.validation
    noise = training.noise_kind if training.noise > 0 else None
    train = Windows(
        prepared.train,
        task,
        training.window_steps,
        prepared.part.provider,
        training.seed,
        noise,
        symmetries=symmetries_of(config, task, prepared.train, prepared.valid),
        turning=turning_of(config, task, prepared.train, prepared.valid),
        members=training.members,
    )
    starts = Windows(prepared.validation, task, validation.steps, prepared.validation_forcings, most=validation.cases)
    return train, starts


def refuse_unfit_data(prepared: Prepared, starts: Windows) -> None:
    """Raise MeshcastError where values are missing that a network needs, or validation would score what is learned."""
    part, task, fields = prepared.part, prepared.task, prepared.validation
    refuse_holes(part, task)
    refuse_holes_of_starts(fields, task, starts.pairs, starts.window, prepared.valid)
    targets = np.unique(starts.pairs[:, 1:] + starts.window[task.history :])
    refuse_overlap("validation", fields, targets, part.fields, part.frames(task))


def look_at_test_data(prepared: Prepared) -> list[str]:
    """Return what is to be said of the test data, looked at once; raise MeshcastError where they were learned from."""
    split, task = prepared.config.data.test, prepared.task
    if split is None:
        return []
    others = {"training": prepared.train, "validation": prepared.validation}

    def look() -> list[str]:
        try:
            test = split.open(keep_in_memory=False)
        except MeshcastError as error:
            return [f"The test data cannot be looked at, so nobody knows whether they were learned from: {error}"]
        return refuse_learned_test(test, task, others, prepared.part.frames(task))

    return prepared.once(["test", split, prepared.config.data.validation], look)


def fingerprint(fields: Fields) -> str:
    """Return a hash of names, places, times and some values: the same data give the same, wherever stored.

    Of fields on another mesh by their harmonics it is that of the stored ones, whatever rounding a machine adds.
    """
    fields = fields.stored if isinstance(fields, HarmonicFields) else fields
    digest = hashlib.sha256(json.dumps([fields.variables, fields.units, fields.ensemble_size]).encode())
    digest.update(fields.times.tobytes())
    digest.update(fields.mesh.positions.round(6).tobytes())
    for index in _spread_times(fields, 16):
        digest.update(fields.unkept.read(index, fields.variables).tobytes())
    return digest.hexdigest()[:16]


def _kept(kept: dict[str, T], key: str, most: int, make: Callable[[], T]) -> T:
    """Return the value of a key, made where it is not there; the dictionary lists what was used last at its end."""
    value = kept.pop(key) if key in kept else make()
    kept[key] = value
    while len(kept) > most:
        kept.pop(next(iter(kept)))
    return value


def _key(config: Any) -> str:
    return json.dumps(resolve(config))


def _bytes_of(table: str) -> bytes:
    if table.startswith(PATHWAY):
        forcing = read_table(table)
        return forcing.times.tobytes() + forcing.values.tobytes()
    try:
        return Path(table).read_bytes()
    except OSError as error:
        raise MeshcastError(f"Cannot read the forcing table {table}: {error.strerror}.") from None


def _valid(fields: Fields, names: tuple[str, ...]) -> NDArray[np.bool_] | None:
    """Return where [node, variable] the data ever have a value, by times spread over all; None where everywhere."""
    valid = np.zeros((fields.mesh.num_nodes, len(names)), dtype=bool)
    for index in _spread_times(fields, 24):
        valid |= np.isfinite(fields.read(index, names)).any(axis=(0, 1))
    return None if valid.all() else valid


def _spread_times(fields: Fields, most: int) -> Iterator[NDArray[np.int64]]:
    """Yield times that are not missing, as indices of one, at most so many and spread over all."""
    readable = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    for place in np.unique(np.linspace(0, len(readable) - 1, most).round().astype(int)):
        yield readable[[place]]
