"""A comparison in one complete YAML: its rows, the budget and the trials they share, and their starts.

Comparisons from before a row was an object are recognised, and turned into the lines that replace theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from emulator.build import EmulatorSection, is_closed_form
from emulator.emulator_config import EmulatorConfig
from emulator.foundation.configuration import load, one_line
from emulator.parameter_budget import width_keys
from emulator.variability import VariabilityConfig
from graphs.errors import MeshcastError
from graphs.kinds import ByKind
from training.accounting import AccountingConfig, TrackingConfig
from training.comparison.climate import ClimateConfig
from training.experiment import DataConfig, ExperimentConfig, TrainingConfig, ValidationConfig
from training.task_config import TaskConfig
from training.tuning.settings import NOISE, RATE
from training.tuning.space import Choice, Range, Space, fitted, scattered, space_of

TABLES = ("emulators", "own_training", "own_history", "keep_size", "grid", "grid_of")  # by label, beside the rows


@dataclass(frozen=True)
class RowConfig:
    """One row of a comparison: an emulator to train, one that is trained, or a file of forecasts.

    emulator: what to train.
    checkpoint: in its place, an emulator trained before: its emulator.safetensors, or the run folder that holds it.
    forecast_file: in its place, forecasts from elsewhere, matched to the comparison's starts: CF NetCDF, this
        package's or another centre's (WeatherBench's `prediction_timedelta` too), or GRIB.
    rename: names of variables in the forecast file, each with its name here.
    history: `task.history` of this row, where it differs.
    training: the keys of `training` that differ in this row.
    keep_size: the width stays as it is where `parameters` scales the others.
    grid: an ablation: values by dotted path, as `{processor.kind: [kernel, interaction], training.noise: [0, 0.01]}`;
        every combination becomes a row in place of this one. Paths lead into `emulator`, or into `training`.
    """

    emulator: Annotated[EmulatorConfig, ByKind] | None = None
    checkpoint: str | None = None
    forecast_file: str | None = None
    rename: dict[str, str] = field(default_factory=dict)
    history: int | None = None
    training: dict[str, Any] = field(default_factory=dict)
    keep_size: bool = False
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return the emulator's kind, or the name of what stands in its place."""
        if self.emulator is not None:
            return self.emulator.kind
        return "checkpoint" if self.checkpoint is not None else "forecast_file"

    def __post_init__(self) -> None:
        given = [name for name in ("emulator", "checkpoint", "forecast_file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise MeshcastError(
                f"expected one of emulator, checkpoint and forecast_file, got {' and '.join(given) or 'none'}"
            )
        needs = dict.fromkeys(("history", "training", "keep_size", "grid"), "emulator") | {"rename": "forecast_file"}
        for name, needed in needs.items():
            if getattr(self, name) and given != [needed]:
                raise MeshcastError(f"{name} is for a row with {needed}, but this one has {given[0]}")
        if self.history is not None and self.history < 1:
            raise MeshcastError(f"history must be at least 1, but is {self.history}")
        if empty := [path for path, values in self.grid.items() if not values]:
            raise MeshcastError(f"grid.{empty[0]} has no values to vary over. Give some, or leave it out.")
        if "seed" in self.training or "training.seed" in self.grid:
            place = "training.seed" if "seed" in self.training else "training.seed in grid"
            raise MeshcastError(
                f"{place} would be without effect: every network has the same seeds. Give them under seeds."
            )


@dataclass(frozen=True)
class StartsConfig:
    """The starts and lead times of the forecasts of the test data.

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
class TuningConfig:
    """Short fits before the long ones: each network row makes the same trials, and keeps the best by validation.

    A trial counts as its checkpoint did when it was chosen, worse where its long rollouts died.

    learning_rate: peak rates to try. noise: standard deviations of the noise on the input, `training.noise`.
    axes: what else to try, by dotted path: `{training.weight_decay: [0, 0.01]}`; every combination of all is a trial of
        every row.
    trials: in place of every combination so many of each row, spread evenly; values may then be ranges, as
        `1e-4..1e-1 log` or `2..8`, under learning_rate and noise too.
    share: of a row's updates that a trial takes; updates: in its place, their number.
    seed: of the trials.
    """

    learning_rate: tuple[float, ...] | str = ()
    noise: tuple[float, ...] | str = ()
    axes: dict[str, tuple[Any, ...] | str] = field(default_factory=dict)
    share: float = 0.25
    updates: int | None = None
    seed: int = 0
    trials: int | None = None

    def __post_init__(self) -> None:
        if not self.all_axes or not all(self.all_axes.values()):
            raise MeshcastError("tuning needs something to try: learning_rate: [1e-3, 3e-3], noise, or axes.")
        if not isinstance(self.learning_rate, str) and not all(rate > 0 for rate in self.learning_rate):
            raise MeshcastError(f"tuning.learning_rate lists positive rates, but is {list(self.learning_rate)}.")
        if not isinstance(self.noise, str) and not all(size >= 0 for size in self.noise):
            raise MeshcastError(f"tuning.noise lists sizes from 0, but is {list(self.noise)}.")
        if self.noise and NOISE in self.axes:
            raise MeshcastError(f"tuning sets {NOISE} twice, by noise and by axes. Leave it to one of the two.")
        if not 0 < self.share <= 1:
            raise MeshcastError(f"tuning.share must lie above 0 and at most at 1, but is {self.share}.")
        if self.updates is not None and self.updates < 1:
            raise MeshcastError(f"tuning.updates must be at least 1, but is {self.updates}.")
        if not _is_seed(self.seed):
            raise MeshcastError(f"tuning.seed must be a number from 0 to 2^32 - 1, but is {self.seed}.")
        for path in self.axes:
            if path.split(".")[0] not in ("training", "emulator") or path in (RATE, "training.seed"):
                raise MeshcastError(
                    f"tuning.axes has the path {path}; it takes those that begin with training. or emulator., learning "
                    "rates under tuning.learning_rate, and no seed."
                )
        if self.trials is not None and self.trials < 1:
            raise MeshcastError(f"tuning.trials must be at least 1, but is {self.trials}.")
        ranges = [path for path, axis in self.space.axes.items() if isinstance(axis, Range)]
        if ranges and self.trials is None:
            raise MeshcastError(f"tuning has a range for {ranges[0]}: say how many values are tried, as trials: 12.")

    @property
    def all_axes(self) -> dict[str, tuple[Any, ...] | str]:
        """Return the values to try by dotted path, the learning rate first, then the noise."""
        first = {RATE: self.learning_rate, NOISE: self.noise}
        return {path: values for path, values in first.items() if values} | self.axes

    @property
    def space(self) -> Space:
        """Return what is tried, before it is held against a row."""
        lists = {path: Choice(tuple(values)) for path, values in self.all_axes.items() if not isinstance(values, str)}
        ranges = {path: values for path, values in self.all_axes.items() if isinstance(values, str)}
        axes = {**lists, **space_of(ranges).axes}
        return Space({path: axes[path] for path in self.all_axes})

    def tried_by(self, experiment: ExperimentConfig, what: str) -> list[dict[str, Any]]:
        """Return the settings that a row tries, by dotted path: equally many of each row.

        what: asks for them, for the message where a path leads nowhere.
        """
        if self.trials is None:
            return list(self.space.points())
        try:
            return scattered(fitted(self.space, experiment), self.trials, self.seed)
        except MeshcastError as error:
            raise MeshcastError(f"{what}: {error}") from None


@dataclass(frozen=True)
class CompareConfig:
    """Everything a comparison needs; `meshcast compare` reads it from one YAML.

    rows: by label; the first is the one others are measured against, persistence is always added.
    parameters: trainable weights of every network row: its width is scaled to come nearest; as configured by default.
    tuning: short fits that choose each network row's learning rate; none by default.
    seeds: of the networks; closed forms are fitted once.
    validation: its score chooses checkpoints, and over the lead times of the test data it ranks the rows.
    tracking: of each run, and of the final table.
    output: the report goes to OUTPUT/NAME, runs to folders in it; results: one file a finished run.
    accounting: how the energy of the trainings is counted, and what it costs.
    climate: scores of a climate under forcing, beside errors by lead time; none by default.
    variability: of each row's emulator, as in an experiment; none by default.
    wet: from which value on a place is wet, by variable or pattern, as `{tp: 0.001}`, which scores the wet area and
        where it is; a millimetre a day for variables in kg m-2 s-1.
    """

    name: str
    data: DataConfig
    task: TaskConfig
    rows: dict[str, RowConfig]
    training: TrainingConfig = field(default_factory=TrainingConfig)
    parameters: int | None = None
    tuning: TuningConfig | None = None
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seeds: tuple[int, ...] = (0,)
    forecast: StartsConfig = field(default_factory=StartsConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    output: str = "runs"
    results: str = "results"
    accounting: AccountingConfig = field(default_factory=AccountingConfig)
    climate: ClimateConfig | None = None
    variability: VariabilityConfig | None = None
    wet: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.strip(". ") or set(self.name) & set("/\\"):
            raise MeshcastError(
                f"name must be that of one folder, which output holds, but is {self.name!r}. Leave out / and \\, or "
                "set output=FOLDER."
            )
        if not self.rows:
            raise MeshcastError("A comparison needs at least one row: rows: {LABEL: {emulator: {kind: gnn}}}.")
        for label in self.rows:
            if not label.strip() or not label.isprintable() or label.count("$") > 1:
                raise MeshcastError(
                    f"rows has the label {label!r}. A label is one line of text, with at most one $: pictures "
                    "read what stands between two as mathematics."
                )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or any(not _is_seed(seed) for seed in self.seeds):
            raise MeshcastError(f"seeds must be different numbers from 0 to 2^32 - 1, but are {list(self.seeds)}.")
        if self.parameters is not None and self.parameters < 1:
            raise MeshcastError(f"parameters must be at least 1, but is {self.parameters}.")
        self._refuse_what_is_set_twice()

    def _refuse_what_is_set_twice(self) -> None:
        """Raise where one key would undo what another sets."""
        tried = set() if self.tuning is None else set(self.tuning.all_axes)
        paths = [path for row in self.rows.values() for path in row.grid]
        varied = {path if path.startswith("training.") else f"emulator.{path}" for path in paths}
        if twice := sorted(tried & varied):
            raise MeshcastError(f"tuning and grid both set {', '.join(twice)}. Leave it to one of the two.")
        if self.parameters is not None and (widths := sorted(tried & {f"emulator.{path}" for path in width_keys()})):
            raise MeshcastError(
                f"parameters scales every width, and tuning.axes sets {widths[0]} to others. Leave one of the two out."
            )

    @staticmethod
    def refuse_old_keys(content: Mapping[str, Any]) -> None:
        """Raise MeshcastError, with the lines to paste, where a comparison lists what rows differ in by label."""
        flat = [f"rows.{label}" for label, row in _mapping(content.get("rows")).items() if "kind" in _mapping(row)]
        if found := [key for key in TABLES if key in content] + flat:
            rows = with_rows(content)["rows"] or {"LABEL": {"emulator": {"kind": "gnn"}}}
            lines = "".join(f"\n  {one_line({label: row})[1:-1]}" for label, row in rows.items())
            raise MeshcastError(
                f"Each row of a comparison is one object with all its settings. In place of {', '.join(found)} write"
                f"\n\nrows:{lines}\n"
            )


def with_rows(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a comparison's YAML with an object a row, and without tables by label."""
    given = {**_mapping(content.get("emulators")), **_mapping(content.get("rows"))}
    rows = {label: _object(row) for label, row in given.items()}
    grid = _mapping(content.get("grid"))
    varied = content.get("grid_of") or next((label for label, row in rows.items() if _is_network(row)), None)
    for label, row in rows.items():
        if training := _mapping(_mapping(content.get("own_training")).get(label)):
            row["training"] = {**_mapping(row.get("training")), **training}
        if label in (histories := _mapping(content.get("own_history"))):
            row["history"] = histories[label]
        if label in (content.get("keep_size") or ()):
            row["keep_size"] = True
        if grid and label == varied:
            row["grid"] = grid
    return {**{key: value for key, value in content.items() if key not in TABLES}, "rows": rows}


def _object(row: Any) -> dict[str, Any]:
    plain = _mapping(row)
    if plain.get("kind") in ("checkpoint", "forecast_file"):
        return {plain["kind"]: plain.get("path")} | {key: plain[key] for key in ("rename",) if plain.get(key)}
    return {"emulator": plain} if "kind" in plain else plain


def _is_network(row: Mapping[str, Any]) -> bool:
    try:
        return not is_closed_form(load(EmulatorSection, {"emulator": row["emulator"]}).emulator)
    except (KeyError, MeshcastError):
        return False


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _is_seed(seed: int) -> bool:
    return 0 <= seed < 2**32  # torch, numpy and Keras all take it
