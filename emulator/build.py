"""From a configuration to an emulator, and from a checkpoint back to one."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.anomaly_persistence import AnomalyPersistenceConfig, DampedAnomalyConfig
from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.coarse_solver import CoarseSolverConfig
from emulator.baselines.first_guess import build_first_guess
from emulator.baselines.forced_response import ForcedResponseConfig, ImpulseResponseConfig, PatternScalingConfig
from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.recent_mean import RecentMeanConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.between import Between, BetweenConfig
from emulator.checkpoint import arrays_under, read, save
from emulator.emulator_config import EmulatorConfig, register
from emulator.features.departures import build_inputs
from emulator.foundation.configuration import load as load_configuration
from emulator.foundation.configuration import resolve
from emulator.foundation.shard_group import ShardGroup
from emulator.networks.cnn import CNNConfig
from emulator.networks.config import NetworkConfig
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.fno import FNOConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.networks.interaction_network import InteractionNetworkConfig
from emulator.networks.keras_networks.keras_models import KerasCNNConfig, KerasConfig, KerasLSTMConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.lstm import LSTMConfig
from emulator.networks.resnet import ResNetConfig
from emulator.networks.transformer import TransformerConfig
from emulator.networks.unet import UNetConfig
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics
from emulator.parameter_budget import limited_weights
from emulator.plugins import PluginConfig, find_plugin, is_network, load_plugins
from emulator.protocol import Emulator
from emulator.stored_task import task_from_json, task_to_json
from emulator.task import Task, refuse_transforms
from emulator.training_part import TrainingPart
from emulator.variability import Variability, VariabilityConfig
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.kinds import ByKind
from graphs.mesh import Mesh
from graphs.storage import StoredGraphs, pack, unpack

EMULATORS = register(  # every kind that comes with the package, in the order in which a comparison draws their families
    PersistenceConfig,
    AnomalyPersistenceConfig,
    DampedAnomalyConfig,
    RecentMeanConfig,
    ClimatologyConfig,
    LinearInverseConfig,
    RidgeConfig,
    PatternScalingConfig,
    ImpulseResponseConfig,
    ForcedResponseConfig,
    CoarseSolverConfig,
    CNNConfig,
    ResNetConfig,
    UNetConfig,
    FNOConfig,
    FFNNConfig,
    LSTMConfig,
    TransformerConfig,
    GNNConfig,
    GraphConvolutionConfig,
    InteractionNetworkConfig,
    KerasCNNConfig,
    KerasLSTMConfig,
    PluginConfig,
)


@dataclass(frozen=True)
class EmulatorSection:
    """One emulator's configuration, as a checkpoint holds it."""

    emulator: Annotated[EmulatorConfig, ByKind]
    between: BetweenConfig | None = None
    variability: VariabilityConfig | None = None


@dataclass(frozen=True, eq=False)
class TrainedEmulator:
    """An emulator with all it needs to be used, judged and traced.

    name: a row's label in tables and legends.
    config: what built it.
    statistics: of the predicted variables over the training part; the guard's ranges.
    metadata: training source, validation score, package versions and what else the checkpoint says.
    valid: [node, predicted] where the training data had values; None where everywhere.
    between: what gives states between its steps, where that was trained.
    variability: how members of a scenario differ, where that was fitted.
    """

    name: str
    emulator: Emulator
    config: EmulatorConfig
    statistics: Statistics
    metadata: Mapping[str, Any] = field(default_factory=dict)
    valid: NDArray[np.bool_] | None = None
    between: Between | None = None
    variability: Variability | None = None

    def valid_by_name(self) -> dict[str, NDArray[np.bool_]] | None:
        """Return `valid` by variable, each [node]; None where every node is."""
        if self.valid is None:
            return None
        return dict(zip(self.statistics.names, self.valid.T, strict=True))


def is_closed_form(config: EmulatorConfig) -> bool:
    """Return whether fitting is a formula, false where it is gradient descent."""
    if isinstance(config, PluginConfig):
        return not is_network(find_plugin(config.name))
    return not isinstance(config, NetworkConfig)


def fit_closed_form(config: BaselineConfig | PluginConfig, task: Task, part: TrainingPart) -> Emulator:
    """Return the emulator whose parameters follow from the training part by formula."""
    if isinstance(config, PluginConfig):
        return find_plugin(config.name).fit(task, part, **config.options)
    return config.fit(task, part)


def build_network(
    config: NetworkConfig,
    task: Task,
    mesh: Mesh,
    num_statics: int,
    graphs: ModelGraphs | None = None,
    group: ShardGroup | None = None,
) -> NeuralEmulator:
    """Return a network emulator with weights drawn at random, scales and first guess still to be set.

    num_statics: columns of static features, the task's and the nodes' statistics. graphs: of a checkpoint, if any.
    group: the processes that its graph is split over; its scales are those of all nodes until it is told to `hold`.
    """
    if isinstance(config, KerasConfig):
        refuse_transforms(task, f"A network of kind {config.kind}")
    if isinstance(config, GNNConfig) and config.conserving == "flux":
        refuse_transforms(task, "A network in flux form (emulator.conserving)")
    inputs = build_inputs(config.departures, task, mesh, num_statics)
    guess = build_first_guess(config.first_guess, inputs, mesh)
    layout = FeatureLayout.of(task, inputs, guess)
    if group is None:
        return NeuralEmulator(task, mesh, inputs, config.build(layout, mesh, graphs), guess)
    if not isinstance(config, GNNConfig):
        raise MeshcastError(
            f"Only a graph network (kind: gnn) can be split over several processes, but this is of kind {config.kind}. "
            "Leave it whole: training.shards=1, or no --shards."
        )
    network = config.build_shard(layout, mesh, group, graphs)
    return NeuralEmulator(task, mesh, inputs, network, guess)


def save_emulator(path: str | Path, trained: TrainedEmulator) -> None:
    """Write one self-describing file: weights, statistics, mesh, graphs and how it all came about."""
    emulator = trained.emulator
    weights = emulator.state_dict() if isinstance(emulator, nn.Module) else emulator.arrays()  # type: ignore[attr-defined]
    mesh_arrays, mesh_metadata = pack(emulator.mesh, graphs_of(emulator))
    arrays = {f"emulator.{name}": value for name, value in weights.items()} | mesh_arrays | trained.statistics.arrays()
    if trained.valid is not None:
        arrays["valid"] = trained.valid
    metadata = dict(trained.metadata)
    if trained.between is not None:
        arrays |= {f"between.{name}": value for name, value in trained.between.state_dict().items()}
        metadata["between"] = resolve(trained.between.config)
    if trained.variability is not None:
        arrays |= {f"variability.{name}": value for name, value in trained.variability.arrays().items()}
        metadata["variability"] = resolve(trained.variability.config)
    metadata |= {
        "name": trained.name,
        "emulator": resolve(getattr(emulator, "config", trained.config)),
        "task": task_to_json(emulator.task),
        "mesh": mesh_metadata,
        "statistics": list(trained.statistics.names),
        "versions": package_versions(),
    }
    save(path, arrays, metadata)


def load_emulator(
    path: str | Path, plugins: Sequence[str | Path] = (), group: ShardGroup | None = None
) -> TrainedEmulator:
    """Return the emulator of a checkpoint, or of the run folder that holds it; nothing in the file is executed.

    plugins: files of plug-ins the user trusts; a plug-in's checkpoint needs its plug-in named here or installed.
    group: the processes to split it over; it then holds this one's nodes (`NeuralEmulator.hold`).
    """
    load_plugins(plugins)
    path = Path(path) / "emulator.safetensors" if Path(path).is_dir() else path
    arrays, metadata = read(path)
    try:
        name, task = str(metadata["name"]), task_from_json(metadata["task"])
        stored = unpack(arrays, metadata["mesh"])
        statistics = Statistics.from_arrays(metadata["statistics"], arrays)
        _refuse_other_variables(statistics, task)
        section = {"emulator": metadata["emulator"]} | {name: metadata.get(name) for name in ("between", "variability")}
        weights, weights_between = (arrays_under(arrays, f"{name}.") for name in ("emulator", "between"))
        _refuse_other_types(metadata)
    except MeshcastError as error:
        raise MeshcastError(f"{path} cannot be used: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MeshcastError(f"{path} is a Meshcast file, but not a whole emulator's: {error!r}.") from None
    sections = load_configuration(EmulatorSection, section)
    config = sections.emulator
    try:
        emulator = _rebuild(config, task, stored, weights, group)
        wanted = sections.between and sections.between.for_emulator(config)
        between = None if wanted is None else _rebuild_between(wanted, emulator, weights_between)
        known = sections.variability
        variability = None if known is None else _rebuild_variability(known, arrays, emulator)
    except (RuntimeError, KeyError, IndexError, MeshcastError, MemoryError) as error:
        reason = error if str(error) else type(error).__name__
        raise MeshcastError(f"The weights in {path} do not fit its configuration: {reason}") from None
    valid = arrays["valid"].numpy() if "valid" in arrays else None
    if valid is not None and (valid.shape != (stored.mesh.num_nodes, len(statistics.names)) or valid.dtype != bool):
        raise MeshcastError(f"{path} cannot be used: valid is no true or false for each node and variable.")
    return TrainedEmulator(name, emulator, config, statistics, metadata, valid, between, variability)


def _refuse_other_types(metadata: Mapping[str, Any]) -> None:
    """Raise TypeError where what a checkpoint says of its training is not as `save_emulator` writes it."""
    experiment = metadata.get("experiment", {})
    data = experiment.get("data", {}) if isinstance(experiment, dict) else {}
    sections = {"experiment": experiment, "experiment.data": data, "dataset": metadata.get("dataset", {})}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise TypeError(f"{name} is no section of names and values")
    tables = data.get("forcing_tables", [])
    if not isinstance(tables, list) or not all(isinstance(path, str) for path in tables):
        raise TypeError("experiment.data.forcing_tables is no list of paths")


def graphs_of(emulator: Emulator) -> ModelGraphs | None:
    """Return the graphs on which a network passes messages; None where it passes none."""
    return getattr(getattr(emulator, "network", None), "graphs", None)


def _rebuild(
    config: EmulatorConfig,
    task: Task,
    stored: StoredGraphs,
    weights: dict[str, Tensor],
    group: ShardGroup | None = None,
) -> Emulator:
    mesh = stored.mesh
    if isinstance(config, PluginConfig) and not is_network(find_plugin(config.name)):
        return find_plugin(config.name).from_arrays(task, mesh, weights, **config.options)
    if isinstance(config, NetworkConfig):
        size = sum(weight.numel() for weight in weights.values())
        in_file = limited_weights(2 * size + 1000, f"the file, which holds {size:,} numbers")  # some are declared twice
        with torch.random.fork_rng(devices=[]), in_file:  # weights drawn only to be replaced
            num_statics = weights["inputs.statics"].shape[1]
            module: nn.Module = build_network(config, task, mesh, num_statics, stored.graphs, group)
    else:
        assert isinstance(config, BaselineConfig)
        module = config.build(task, mesh)
    if isinstance(config, NetworkConfig):
        _refuse_other_indices(module, weights)
    module.load_state_dict(weights)
    if group is not None:
        assert isinstance(module, NeuralEmulator)
        module.hold(group)
    return module.eval().requires_grad_(False)  # type: ignore[return-value]


def _rebuild_between(config: BetweenConfig, emulator: Emulator, weights: dict[str, Tensor]) -> Between:
    if not isinstance(emulator, NeuralEmulator):
        raise MeshcastError("it has a network for states between the steps of an emulator that is none.")
    size = sum(weight.numel() for weight in weights.values())
    in_file = limited_weights(2 * size + 1000, f"the file, which holds {size:,} numbers between steps")
    with torch.random.fork_rng(devices=[]), in_file:
        module = Between(config, emulator, len(weights["correction_std"]), graphs_of(emulator))
    _refuse_other_indices(module, weights)
    module.load_state_dict(weights)
    return module.eval().requires_grad_(False)


def _rebuild_variability(config: VariabilityConfig, arrays: Mapping[str, Tensor], emulator: Emulator) -> Variability:
    shape = emulator.mesh.num_nodes, len(emulator.task.predicted)
    return Variability.from_arrays(config, arrays_under(arrays, "variability."), shape)


def _refuse_other_indices(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise MeshcastError where a network's numbers of nodes lie beyond those that the stored graphs give."""
    for name, built in module.state_dict().items():
        stored = weights.get(name)
        indices = name.startswith("network.") and built.dtype in (torch.int64, torch.int32) and built.numel()
        if not indices or stored is None or stored.shape != built.shape:
            continue
        low, high = int(built.min()), int(built.max())
        if stored.is_floating_point() or int(stored.min()) < low or int(stored.max()) > high:
            raise MeshcastError(f"{name} holds other numbers than {low} to {high}, which its graphs have.")


def _refuse_other_variables(statistics: Statistics, task: Task) -> None:
    names = tuple(variable.name for variable in task.predicted)
    shapes = {array.shape for array in statistics.arrays().values()}
    if statistics.names != names or shapes != {(len(names),)}:
        raise MeshcastError(f"its statistics are of {statistics.names}, not one number for each of {names}.")


def package_versions() -> dict[str, str]:
    """Return versions of what the numbers depend on."""
    return dict(_package_versions())


@cache
def _package_versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    for name in ("meshcast", "torch-geometric", "torch-scatter", "lightning", "anemoi-datasets", "earthkit-data"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
