"""One experiment: the data, the task, the emulator and its training, in one complete YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import emulator.build  # noqa: F401  which registers the kinds of emulators that a configuration may name
from emulator.between import BetweenConfig
from emulator.data.arrays import in_memory
from emulator.data.grib_output import GribSettings
from emulator.data.sources import open_fields, rows_or_dimension
from emulator.emulator_config import EmulatorConfig
from emulator.fields import Fields
from emulator.foundation.variable_patterns import is_pattern
from emulator.harmonic_fields import HarmonicFields, HarmonicsConfig
from emulator.networks.gnn import GNNConfig
from emulator.variability import VariabilityConfig
from graphs.errors import MeshcastError
from graphs.kinds import ByKind
from graphs.mesh import Mesh
from graphs.meshes.grids import build_grid
from graphs.meshes.limited_area import BoxWindow, CapWindow
from training.accounting import AccountingConfig, TrackingConfig
from training.early_end import seconds_of
from training.losses import find_loss
from training.shares import SharesConfig
from training.strategies import StrategyConfig
from training.task_config import TaskConfig

WindowConfig = Annotated[CapWindow | BoxWindow, ByKind]
NoiseKind = Literal["white", "random_amplitude"]
Source = str | list[Any] | dict[str, Any]
# keys of a training that change numbers by rounding alone, or none
NO_OTHER_RUN = ("threads", "checkpoints", "max_time", "shards", "checkpoint_activations")


@dataclass(frozen=True)
class DataPart:
    """One part of the data: training, validation or test.

    source: whatever `emulator.data.sources.open_fields` opens: an anemoi dataset (a path, or join, select, start, end
        ... as `open_dataset` takes), an array [trajectory, frame, channel, node] (.npy), GRIB, NetCDF or The
        Well's files.
    trajectories: first and one past the last of the ensemble axis; all by default. Where a source does not say that
        its members are independent trajectories, what tells them apart: `files`, a file each, their dimension, or an
        attribute of the files.
    window: a part of the sphere; that of `data.window` by default.
    statics: files or datasets of fields that never change, such as orography; those of `data.statics` by default.
    harmonics: to another mesh; those of `data.harmonics` by default.
    forcing_tables: of this part, such as another pathway; those of `data.forcing_tables` by default.
    """

    source: Source
    trajectories: tuple[int, int] | str | None = None
    window: WindowConfig | None = None
    statics: tuple[str, ...] = ()
    harmonics: HarmonicsConfig | None = None
    forcing_tables: tuple[str, ...] = ()

    def open(self, keep_in_memory: bool = True) -> Fields:
        """Return the fields, kept in memory, unless nobody wants that, where they take less than a gigabyte."""
        if self.harmonics is None:
            return open_fields(self.source, self._rows, keep_in_memory, window=self.window, statics=self.statics)
        fields = open_fields(self.source, self._rows, statics=self.statics)
        if fields.mesh.same_nodes(build_grid(self.harmonics.mesh)):
            return in_memory(fields) if keep_in_memory else fields
        return HarmonicFields(fields, self.harmonics, keep_in_memory)

    @property
    def mesh(self) -> Mesh:
        """Where the fields lie, none of them read."""
        if self.harmonics is not None:
            return build_grid(self.harmonics.mesh)
        named = self._rows if isinstance(self._rows, str) else None
        return open_fields(self.source, named, window=self.window).mesh

    @property
    def _rows(self) -> slice | str | None:
        if isinstance(self.trajectories, str):
            return rows_or_dimension(self.trajectories)
        return None if self.trajectories is None else slice(*self.trajectories)


@dataclass(frozen=True)
class DataConfig:
    """The split: by trajectory, by date, or both. Statistics come from the training part only.

    forcing_tables: CSV files of global scalars by date, or `pathway:NAME`, the forcing of a pathway (docs/climate.md).
    window: the part of the sphere to forecast, and the width of the boundary around it, whose values are given at
        every step: `{kind: cap, centre: [45, 10], radius_km: 4000, boundary_km: 1500}`, or kind: box.
    statics: GRIB or NetCDF files, or datasets, of fields that never change and that the source lacks, such as
        orography; with time or without, on the same nodes.
    harmonics: the emulator's mesh where it is coarser than that of the data: `{truncation: 42, mesh: {kind: icosphere,
        level: 3}}`. Every part is analysed to spherical harmonics and evaluated there, unless it lies there already;
        `training.rotation` then turns the training part by any angle.
    """

    train: DataPart
    validation: DataPart
    test: DataPart | None = None
    forcing_tables: tuple[str, ...] = ()
    window: WindowConfig | None = None
    statics: tuple[str, ...] = ()
    harmonics: HarmonicsConfig | None = None

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            if (split := getattr(self, name)) is not None:
                shared = {key: getattr(split, key) or getattr(self, key) for key in ("window", "statics", "harmonics")}
                if shared["window"] is not None and shared["harmonics"] is not None:
                    raise MeshcastError("data.harmonics needs the whole sphere, and data.window is a part. Give one.")
                object.__setattr__(self, name, replace(split, **shared))

    def tables_of(self, part: DataPart) -> tuple[str, ...]:
        """Return the forcing tables of a part, its own or else those of all."""
        return part.forcing_tables or self.forcing_tables


@dataclass(frozen=True)
class TrainingConfig(StrategyConfig, SharesConfig):
    """How the network is fitted.

    updates: optimiser steps.
    minutes: in their place, minutes of one core: turned into updates once, by the processor time of twenty steps (all
        threads together, so that a busy machine shortens no training; on a GPU it is the clock's).
    max_time: of the clock, as `11h50m`, after which a training ends as by a signal, its state kept, with exit code 75;
        started again with `resume=auto` it goes on, and may take as long again.
    learning_rate: its peak; warm_up: updates of linear rise, then a cosine to zero.
    loss: of the error in units of what the first guess leaves, averaged over area, steps and variables: `mse`, `mae`,
        `huber`, `pseudo_huber`, `crps` of several members, or one from the dictionary LOSSES of a plug-in.
    optimiser: `adamw`, or `muon` for the matrices inside the network and AdamW for all other weights, at one rate.
    weight_decay: what an update takes off each weight, times the learning rate and apart from the gradient.
    decayed: `all` weights, or `matrices`, which leaves biases, scales of norms and other vectors as they are.
    gradient_clip: largest norm of the gradient.
    ema_decay: of the exponential moving average of the weights, which validation and the checkpoint use.
    average_last: share of the updates over whose end the weights are averaged uniformly beside that, 0 for none. From
        its beginning on each validation scores the moving average, this average and the last weights, and the best of
        the three is what validation finds and the checkpoint may keep.
    noise: standard deviation of the noise added to the input history, in units of each variable's.
    noise_kind: `white` at every node and time; `random_amplitude`, white too, but weaker by a factor of its own for
        each sample, between 1 and 10, even in its logarithm.
    mirror: variables that change sign at the equator, as `[v]`; every other sample is then the mirror image of the
        data's, north for south. For equations that know no hemisphere but by the Coriolis force, on a symmetric mesh.
        On a ring it is the reflection x -> -x, for equations without odd derivatives: `[u]` where u changes sign with
        it (Burgers, conservative Kuramoto-Sivashinsky), `[]` where not (diffusion, the gradient norm's form). One that
        the simulated equation does not have, or that a fit to the data refutes, is refused.
    reversal: variables that change sign where time runs backwards and east is west, as `[v]`; every other sample, or of
        two every other pair, is then reversed. For equations with next to no friction, on a symmetric mesh.
    shift: whether every sample is seen from another node of a ring, drawn anew in each epoch. Exact for every equation
        with constant coefficients. Networks of relative positions are the same all around a ring already; it serves
        those that are not, as networks of whole fields.
    rotation: whether every sample is turned about the planet's axis, by an angle of its own in each epoch. For
        equations that know latitudes alone, on evenly spaced longitudes, or on any mesh by `data.harmonics`. Networks
        on an icosphere are the same in the turns that take its nodes to each other; other angles are new to them.
    pushforward: steps taken without a gradient before those of the loss, which then starts from the network's own
        errors.
    unroll: steps of the rollout in the loss.
    curriculum: in its place, shares of the updates and their unroll, in order: `[[0.8, 1], [0.2, 4]]`.
    num_workers: processes that load data; the result does not depend on it.
    threads: of PyTorch; by default one or all, whichever takes less time over a few batches, measured once a run and
        kept. OMP_NUM_THREADS decides where it is set. TensorFlow keeps those of the first run that uses it, as
        of the first such row of a comparison.
    checkpoints: to resume from that a run keeps until it is done, last.ckpt and those before it, should it be damaged.
    checkpoint_activations: what is computed again for the gradient, in place of being kept in memory: `layers`, every
        round of messages of a kind: gnn; `steps`, every step of the loss but the last; `both`, or `none`. No number
        changes.
    """

    seed: int = 0
    updates: int = 10_000
    minutes: float | None = None
    max_time: str | None = None
    loss: str = "mse"
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    decayed: Literal["all", "matrices"] = "all"
    warm_up: int = 500
    gradient_clip: float = 1.0
    ema_decay: float = 0.99
    average_last: float = 0.0
    noise: float = 0.01
    noise_kind: NoiseKind = "white"
    mirror: tuple[str, ...] | None = None
    reversal: tuple[str, ...] | None = None
    shift: bool = False
    rotation: bool = False
    pushforward: int = 0
    unroll: int = 1
    curriculum: tuple[tuple[float, int], ...] = ()
    num_workers: int = 0
    threads: int | None = None
    checkpoints: int = 2
    checkpoint_activations: Literal["none", "layers", "steps", "both"] = "none"

    def __post_init__(self) -> None:
        lowest = {"updates": 1, "unroll": 1, "num_workers": 0, "warm_up": 0, "noise": 0, "weight_decay": 0, "seed": 0,
                  "pushforward": 0, "threads": 1, "checkpoints": 1}  # fmt: skip
        for name, least in lowest.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise MeshcastError(f"training.{name} must be at least {least}, but is {value}.")
        for name in ("learning_rate", "gradient_clip", "minutes"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise MeshcastError(f"training.{name} must be positive, but is {value}.")
        if self.max_time is not None:
            seconds_of(self.max_time)
        self.refuse_bad_shares()
        find_loss(self.loss)
        if not 0 <= self.ema_decay < 1:
            raise MeshcastError(f"training.ema_decay must lie in [0, 1), but is {self.ema_decay}.")
        if not 0 <= self.average_last <= 1:
            raise MeshcastError(
                f"training.average_last must be a share of the updates from 0 to 1, but is {self.average_last}."
            )
        if self.curriculum:
            self._check_curriculum()
        self.refuse_bad_strategies(self.loss, self.noise, self.stages)

    def _check_curriculum(self) -> None:
        if self.unroll != 1:
            raise MeshcastError(
                f"training.unroll is {self.unroll}, but training.curriculum says it too. Remove one of the two."
            )
        shares, steps = zip(*self.curriculum, strict=True)
        if min(shares) <= 0 or min(steps) < 1 or abs(sum(shares) - 1) > 1e-6:
            raise MeshcastError(
                "training.curriculum lists [share of the updates, steps of the loss]: shares above 0 that sum to 1, "
                f"and steps from 1, as [[0.8, 1], [0.2, 4]]; but it is {[list(stage) for stage in self.curriculum]}."
            )

    @property
    def stages(self) -> tuple[tuple[float, int], ...]:
        """Return the shares of the updates, and the unroll in each."""
        return self.curriculum or ((1.0, self.unroll),)

    @property
    def window_steps(self) -> int:
        """Return the steps a training window needs beyond its history."""
        return self.pushforward + max(unroll for _, unroll in self.stages)

    def unroll_at(self, update: int, stage: int = 0) -> int:
        """Return the steps in the loss of an update, from 0: a function of it alone, whatever was interrupted.

        stage: of the curriculum that has begun already, see `plateau`. `random_unroll` draws from 1 to these.
        """
        return self.stages[max(stage, self.stage_at(update))][1]

    def stage_at(self, update: int) -> int:
        """Return the stage of the curriculum that an update is in by its share, from 0."""
        done = 0.0
        for stage, (share, _) in enumerate(self.stages):
            done += share
            if update < round(done * self.updates):
                return stage
        return stage


@dataclass(frozen=True)
class ValidationConfig:
    """Validation is a forecast and its verification; the best score chooses the checkpoint.

    every: updates between validations.
    steps: lead times forecast, from at most `cases` starts spread over the validation part.
    score: `nrmse`, error norm over truth norm (for fields without an offset), or `rmse`, in units of the training
        std; averaged over cases and, geometrically, over lead times and variables, so that every lead time counts.
    long_rollout: share of the computing between two validations, of all processes, that goes into rollouts without
        truth, of two of these starts and up to 1,000 steps or ten times as long as a training series, of four where
        it reaches that far; 0 for none. A checkpoint whose forecasts the guard stops on the way counts as if its score
        were 2 · steps / steps survived times as large.
    """

    every: int = 500
    steps: int = 20
    cases: int = 20
    score: Literal["nrmse", "rmse"] = "rmse"
    long_rollout: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.long_rollout <= 1:
            raise MeshcastError(f"validation.long_rollout must be a share from 0 to 1, but is {self.long_rollout}.")
        for name in ("every", "steps", "cases"):
            if getattr(self, name) < 1:
                raise MeshcastError(f"validation.{name} must be at least 1, but is {getattr(self, name)}.")


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything a run needs; `meshcast train` reads it from one YAML.

    name: of the run; results go to `output`/`name`.
    grib: what forecasts in GRIB say: the number in ECMWF's parameter database of a variable that GRIB does not know by
        its name, `{tcco2: 210064}`; and `centre`, `generating_process`, `ensemble_type` (of perturbed members, WMO code
        table 4.6) and `control` (the unperturbed member, or none). Not stated by default.
    between: a network for states between steps, trained once the emulator's own is; none by default.
    variability: how members of a scenario differ (`meshcast scenario --members`), fitted to what a free rollout over
        the training part leaves; none by default.
    accounting: how the energy of the training is counted, and what it costs.
    """

    name: str
    data: DataConfig
    task: TaskConfig
    emulator: Annotated[EmulatorConfig, ByKind] = field(default_factory=GNNConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    output: str = "runs"
    grib: dict[str, int | str] = field(default_factory=dict)
    between: BetweenConfig | None = None
    variability: VariabilityConfig | None = None
    accounting: AccountingConfig = field(default_factory=AccountingConfig)

    def __post_init__(self) -> None:
        GribSettings.of(self.grib, self.task.predicted_of(self.grib))
        for split in (self.data.train, self.data.validation, self.data.test):
            if split is not None and split.harmonics is not None:
                named = {name: other for name, other in self.task.partners.items() if not is_pattern(name)}
                split.harmonics.refuse_other_winds(named)
        recomputed = self.training.checkpoint_activations
        if recomputed in ("layers", "both") and self.emulator.kind != "gnn":
            raise MeshcastError(
                f"training.checkpoint_activations={recomputed} computes rounds of messages again, of a kind: gnn, but "
                f"this emulator is of kind {self.emulator.kind}. Set it to steps, or to none."
            )
