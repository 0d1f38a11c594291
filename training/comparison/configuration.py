"""A comparison in one complete YAML: its rows, the budget and the trials they share, and the forecasts made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from emulator.build import EmulatorConfig
from graphs.errors import MeshcastError
from graphs.kinds import ByKind
from training.experiment import DataConfig, TaskConfig, TrackingConfig, TrainingConfig, ValidationConfig

RATE = "training.learning_rate"
WIDTHS = ("width", "processor.latent_size")  # what `parameters` scales


@dataclass(frozen=True)
class CheckpointConfig:
    """An emulator trained before.

    path: its emulator.safetensors, or the run folder that holds it.
    """

    path: str
    kind: Literal["checkpoint"] = "checkpoint"


@dataclass(frozen=True)
class ForecastFileConfig:
    """Forecasts that others made, matched to the comparison's starts.

    path: a CF NetCDF file, ours or another centre's (WeatherBench's `prediction_timedelta` too), or GRIB.
    rename: of a variable in the file, ours.
    """

    path: str
    kind: Literal["forecast_file"] = "forecast_file"
    rename: dict[str, str] = field(default_factory=dict)


RowConfig = Annotated[EmulatorConfig | CheckpointConfig | ForecastFileConfig, ByKind]


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
class TuningConfig:
    """Short fits before the long ones: each network row makes the same trials, and keeps the best by validation.

    learning_rate: peak rates to try.
    axes: what else to try, by dotted path: `{training.noise: [0, 0.01]}`; every combination is a trial of every row.
    share: of a row's updates that a trial takes; updates: in its place, their number.
    seed: of the trials.
    """

    learning_rate: tuple[float, ...] = ()
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    share: float = 0.25
    updates: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.all_axes or not all(self.all_axes.values()):
            raise MeshcastError("tuning needs something to try: learning_rate: [1e-3, 3e-3], or axes.")
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

    @property
    def all_axes(self) -> dict[str, tuple[Any, ...]]:
        """Values to try by dotted path, the learning rate first."""
        return ({RATE: self.learning_rate} if self.learning_rate else {}) | self.axes


@dataclass(frozen=True)
class CompareConfig:
    """Everything a comparison needs; `meshcast compare` reads it from one YAML.

    emulators: by label, the first is the one others are measured against; persistence is always added.
    own_training: of a label, the keys of `training` that differ.
    own_history: of a label, `task.history` where it differs.
    parameters: trainable weights of every network row: its width is scaled to come nearest; as configured by default.
    keep_size: labels whose width stays as it is.
    tuning: short fits that choose each network row's learning rate; none by default.
    grid: an ablation: values by dotted path, as `{processor.kind: [kernel, interaction], training.noise: [0, 0.01]}`;
        every combination becomes a row in place of one. Paths lead into the row's section, or into `training`.
    grid_of: label of that row; the first network by default.
    seeds: of the networks; closed forms are fitted once.
    validation: its score chooses checkpoints, and over the test part's lead times it ranks the rows.
    tracking: of each run, and of the final table.
    output: the report goes to OUTPUT/NAME, runs to folders in it; results: one file a finished run.
    """

    name: str
    data: DataConfig
    task: TaskConfig
    emulators: dict[str, RowConfig]
    training: TrainingConfig = field(default_factory=TrainingConfig)
    own_training: dict[str, dict[str, Any]] = field(default_factory=dict)
    own_history: dict[str, int] = field(default_factory=dict)
    parameters: int | None = None
    keep_size: tuple[str, ...] = ()
    tuning: TuningConfig | None = None
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    grid_of: str | None = None
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seeds: tuple[int, ...] = (0,)
    forecast: StartsConfig = field(default_factory=StartsConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    output: str = "runs"
    results: str = "results"

    def __post_init__(self) -> None:
        if not self.name.strip(". ") or set(self.name) & set("/\\"):
            raise MeshcastError(
                f"name must be that of one folder, which output holds, but is {self.name!r}. Leave out / and \\, or "
                "set output=FOLDER."
            )
        if not self.emulators:
            raise MeshcastError("A comparison needs at least one emulator: emulators: {LABEL: {kind: gnn}}.")
        for label in self.emulators:
            if not label.strip() or not label.isprintable() or label.count("$") > 1:
                raise MeshcastError(
                    f"emulators has the label {label!r}. A label is one line of text, with at most one $: pictures "
                    "read what stands between two as mathematics."
                )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or any(not _is_seed(seed) for seed in self.seeds):
            raise MeshcastError(f"seeds must be different numbers from 0 to 2^32 - 1, but are {list(self.seeds)}.")
        if self.parameters is not None and self.parameters < 1:
            raise MeshcastError(f"parameters must be at least 1, but is {self.parameters}.")
        if low := sorted(label for label, history in self.own_history.items() if history < 1):
            raise MeshcastError(f"own_history.{low[0]} must be at least 1, but is {self.own_history[low[0]]}.")
        named: dict[str, Iterable[str]] = {
            "own_training": self.own_training,
            "own_history": self.own_history,
            "keep_size": self.keep_size,
            "grid_of": () if self.grid_of is None else (self.grid_of,),
        }
        for key, labels in named.items():
            if strangers := sorted(set(labels) - set(self.emulators)):
                raise MeshcastError(
                    f"{key} names {', '.join(strangers)}, but emulators are {', '.join(self.emulators)}."
                )
        if empty := [path for path, values in self.grid.items() if not values]:
            raise MeshcastError(f"grid.{empty[0]} has no values to vary over. Give some, or leave it out.")
        self._refuse_what_is_set_twice()

    def _refuse_what_is_set_twice(self) -> None:
        """Raise where one key would undo what another sets."""
        tried = set() if self.tuning is None else set(self.tuning.all_axes)
        varied = {path if path.startswith("training.") else f"emulator.{path}" for path in self.grid}
        if twice := sorted(tried & varied):
            raise MeshcastError(f"tuning and grid both set {', '.join(twice)}. Leave it to one of the two.")
        seeded = [f"own_training.{label}.seed" for label, own in self.own_training.items() if "seed" in own]
        seeded += ["grid's training.seed"] * ("training.seed" in self.grid)
        if seeded:
            raise MeshcastError(
                f"{seeded[0]} would be without effect: every network has the same seeds. Give them under seeds."
            )
        if self.parameters is not None and (widths := sorted(tried & {f"emulator.{path}" for path in WIDTHS})):
            raise MeshcastError(
                f"parameters scales every width, and tuning.axes sets {widths[0]} to others. Leave one of the two out."
            )


def _is_seed(seed: int) -> bool:
    """Whether torch, numpy and Keras all take it."""
    return 0 <= seed < 2**32
