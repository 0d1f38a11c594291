"""Where the weights of a network start: those of another emulator, column by column, and which of them stay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from emulator.build import TrainedEmulator, load_emulator
from emulator.foundation.configuration import resolve
from emulator.foundation.threads import Notice
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_network import KerasNetwork
from emulator.networks.layers.angular_kernels import AngularKernelLayer
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.linear_path import LinearPath
from emulator.networks.layers.processors import NodeEmbedding
from emulator.neural import NeuralEmulator
from emulator.task import names_of
from graphs.errors import MeshcastError
from training.strategies import StrategyConfig, matched

log = logging.getLogger(__name__)

OTHER_SCALE = 1.1  # a standard deviation so many times another's is told


@dataclass(frozen=True)
class Columns:
    """What the columns of a network's weights stand for, by name: its inputs, its outputs, the winds among them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    winds: tuple[str, ...]

    @classmethod
    def of(cls, emulator: NeuralEmulator, layout: FeatureLayout, node_statistics: bool) -> Columns:
        task = emulator.task
        prognostic = names_of(task.with_role("prognostic"))
        times = range(1 - layout.times, 1)
        inputs = [f"{name} at {time}" for time in times for name in prognostic]
        inputs += [f"forcing {name} at {time}" for time in (*times, 1) for name in task.forcing]
        inputs += [f"static {name}" for name in task.static]
        if node_statistics:
            inputs += [f"{what} of {name}" for what in ("mean", "variability", "change") for name in prognostic]
        flags = emulator.inputs.statics.shape[1] - len(task.static) - 3 * len(prognostic) * node_statistics
        inputs += [f"mask {number}" for number in range(flags)]
        if task.boundary:
            inputs += [*(f"change of {name} at the boundary" for name in prognostic), "boundary"]
        inputs += [f"solver's {number}" for number in range(layout.num_inputs - len(inputs))]
        winds = (*layout.winds, *layout.seen_winds)
        return cls(tuple(inputs), names_of(task.predicted), tuple(inputs[east] for east, _ in winds))


def start_weights(
    emulator: NeuralEmulator, section: NetworkConfig, strategies: StrategyConfig, taken: bool, notice: Notice = log.info
) -> None:
    """Set the weights with which a training begins, and mark those that it leaves as they are.

    section: the emulator's configuration. taken: whether `initialise_from` still counts, since no checkpoint follows.
    notice: takes what is said of weights that come from another emulator, a line each.
    Raises MeshcastError where a weight of the other emulator has no place here, or a pattern fits no weight.
    """
    if isinstance(emulator.network, KerasNetwork):
        return  # whose loop refuses these strategies
    weights = dict(emulator.network.named_parameters())
    if strategies.initialise_from is not None and taken:
        other = load_emulator(strategies.initialise_from)
        for line in taken_over(emulator, section, other, strategies.initialise_from, strategies.fresh):
            notice(line)
    frozen = matched(strategies.frozen, list(weights), "training.frozen", "the network's weights")
    chosen = {name for names in frozen.values() for name in names}
    if chosen and len(chosen) == len(weights):
        raise MeshcastError("training.frozen fits every weight of the network: nothing is left to train. Name fewer.")
    for name in chosen:
        weights[name].requires_grad_(False)


@torch.no_grad()
def taken_over(
    emulator: NeuralEmulator, section: NetworkConfig, other: TrainedEmulator, source: str, fresh: tuple[str, ...] = ()
) -> list[str]:
    """Give a network another one's weights, and return what is to be said of it.

    Columns of inputs are taken by the name of what they stand for; those of inputs that the other did not have are
    zero, so that the function is the other's at first. Edges of a finer octave than any of the other's take the
    weights of its finest. Scales, graphs and first guess are those of the new data.

    source: of the other. fresh: patterns of weights that are not taken.
    Raises MeshcastError, with every weight that has no place, where one is neither taken nor `fresh`.
    """
    _refuse_other_kind(section, other, source)
    assert isinstance(other.emulator, NeuralEmulator) and isinstance(other.config, NetworkConfig)
    here, there = _Network.of(emulator, section), _Network.of(other.emulator, other.config)
    names = [*here.weights, *(name for name in there.weights if name not in here.weights)]
    left = {n for found in matched(fresh, names, "training.fresh", "the networks' weights").values() for n in found}
    _refuse_lost_columns(here.columns, there.columns, source)
    axes = here.axes() if here.columns != there.columns else {}
    values: dict[str, Tensor] = {}
    faults = []
    for name in (name for name in names if name not in left):
        shapes = [str(list(each.weights[name].shape)) if name in each.weights else "none" for each in (there, here)]
        value = _value(name, here, there, axes.get(name, {})) if "none" not in shapes else None
        if value is None:
            faults.append(f"{name}: {shapes[0]} there, {shapes[1]} here")
        else:
            values[name] = value
    if faults or not values:
        raise MeshcastError(
            f"training.initialise_from={source}: these weights of its network have no place in this one, or this one "
            "others:\n" + "\n".join(faults or ["all: training.fresh leaves none to take"]) + "\nConfigure the same "
            "network, or name those that shall start at random in training.fresh, as ['decoder.*']."
        )
    for name, value in values.items():
        here.weights[name].copy_(value)
    return _said(here, there, other, source, values, left)


@dataclass(frozen=True, eq=False)
class _Network:
    emulator: NeuralEmulator
    config: NetworkConfig
    layout: FeatureLayout
    columns: Columns
    weights: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]

    @classmethod
    def of(cls, emulator: NeuralEmulator, config: NetworkConfig) -> _Network:
        layout = FeatureLayout.of(emulator.task, emulator.inputs, emulator.first_guess)
        columns = Columns.of(emulator, layout, config.node_statistics)
        network = emulator.network
        return cls(emulator, config, layout, columns, dict(network.named_parameters()), dict(network.named_modules()))

    def axes(self) -> dict[str, dict[int, str]]:
        """Return by weight which of its dimensions count inputs and outputs: those that grow with one more of them."""
        found: dict[str, dict[int, str]] = {}
        graphs = getattr(self.emulator.network, "graphs", None)
        for what in ("inputs", "outputs"):
            wider: Any = replace(self.layout, **{f"num_{what}": getattr(self.layout, f"num_{what}") + 1})
            with torch.random.fork_rng(devices=[]):
                network = self.config.build(wider, self.emulator.mesh, graphs)
            for name, weight in network.named_parameters():
                sizes = zip(self.weights[name].shape, weight.shape, strict=True)
                found.setdefault(name, {}).update(
                    {place: what for place, (size, one_more) in enumerate(sizes) if one_more == size + 1}
                )
        for name, module in self.modules.items():
            if isinstance(module, NodeEmbedding):
                found |= {f"{name}.{part}.weight": {1: "winds"} for part in ("along", "across")}
        return found

    def owner(self, name: str) -> nn.Module:
        """Return the module that holds a weight itself."""
        return self.modules[name.rpartition(".")[0]]


def _value(name: str, here: _Network, there: _Network, axes: Mapping[int, str]) -> Tensor | None:
    """Return a weight as the other network's makes it, None where that has no place."""
    old, new = there.weights[name], here.weights[name]
    owner = here.owner(name)
    if isinstance(owner, LinearPath):
        return _linear(owner, there.owner(name), here.columns, there.columns)
    if isinstance(owner, AngularKernelLayer) and name.endswith("neighbours") and old.shape[1:] == new.shape[1:]:
        finer = len(new) - len(old)
        return None if finer < 0 else torch.cat([old, *([old[-1:]] * finer)])
    value = old
    for axis, what in sorted(axes.items(), key=lambda item: item[1] != "inputs"):
        value = _placed(value, new, axis, getattr(here.columns, what), getattr(there.columns, what), what)
    return value if value.shape == new.shape else None


def _placed(value: Tensor, new: Tensor, axis: int, here: Sequence[str], there: Sequence[str], what: str) -> Tensor:
    """Return a weight with the columns of one dimension where this network has them; outputs not there stay."""
    if here == there or value.ndim != new.ndim or value.shape[axis] != len(there) or new.shape[axis] != len(here):
        return value
    shape = list(value.shape)
    shape[axis] = len(here)
    start = new if what == "outputs" and list(new.shape) == shape else value.new_zeros(shape)
    places = torch.tensor([here.index(name) for name in there])
    return start.index_copy(axis, places, value)


def _linear(here: LinearPath, there: nn.Module, columns: Columns, others: Columns) -> Tensor | None:
    if not isinstance(there, LinearPath) or here.sizes[2:] != there.sizes[2:]:
        return None
    whole = torch.zeros(here.sizes)
    fields = [columns.inputs.index(name) for name in others.inputs[: there.sizes[1]]]
    outputs = [columns.outputs.index(name) for name in others.outputs]
    whole[torch.tensor(outputs)[:, None], torch.tensor(fields)] = there.coefficients.view(there.sizes).float()
    return whole.reshape(-1)


def _refuse_other_kind(section: NetworkConfig, other: TrainedEmulator, source: str) -> None:
    emulator, config = other.emulator, other.config
    start = f"training.initialise_from={source}: "
    if not isinstance(emulator, NeuralEmulator) or isinstance(emulator.network, KerasNetwork):
        what = "a Keras network" if isinstance(emulator, NeuralEmulator) else f"a {config.kind}, which has no network"
        raise MeshcastError(f"{start}it is {what}. Give an emulator of PyTorch's of kind {section.kind}.")
    assert isinstance(config, NetworkConfig)
    for name, mine, its in (
        ("kind", section.kind, config.kind),
        ("first_guess.kind", section.first_guess.kind, config.first_guess.kind),
        ("departures", resolve(section.departures), resolve(config.departures)),
    ):
        if mine != its:
            raise MeshcastError(
                f"{start}its emulator.{name} is {its}, this one's is {mine}: its weights would mean something else "
                f"here. Set emulator.{name} to {its}."
            )


def _refuse_lost_columns(here: Columns, there: Columns, source: str) -> None:
    lost = [f"input {name}" for name in there.inputs if name not in here.inputs]
    lost += [f"output {name}" for name in there.outputs if name not in here.outputs]
    if lost:
        raise MeshcastError(
            f"training.initialise_from={source}: its network has what this one lacks: {', '.join(lost)}. Its function "
            "would be another without them. Give the task the same variables, statics, forcings and history, or more."
        )


def _said(
    here: _Network,
    there: _Network,
    other: TrainedEmulator,
    source: str,
    values: Mapping[str, Tensor],
    left: set[str],
) -> list[str]:
    total, taken = (sum(each.numel() for each in group) for group in (here.weights.values(), values.values()))
    lines = [f"{taken:,} of {total:,} weights start as those of {other.name} in {source}."]
    if new := [name for name in here.columns.inputs if name not in there.columns.inputs]:
        lines.append(f"Columns of inputs that it did not have start at zero: {', '.join(new)}.")
    if new := [name for name in here.columns.outputs if name not in there.columns.outputs]:
        lines.append(f"Outputs that it did not have start as the first guess: {', '.join(new)}.")
    if left:
        lines.append(f"At random start, by training.fresh: {', '.join(sorted(left))}.")
    if finer := [name for name, value in values.items() if _is_octaves(here, name, value, there)]:
        lines.append(f"Edges shorter than any it had take the weights of its shortest ones: {', '.join(finer)}.")
    its, mine = _flat(resolve(there.config)), _flat(resolve(here.config))
    if differ := [k for k in mine if k in its and its[k] != mine[k] and not k.startswith("first_guess.")]:
        lines.append("Configured otherwise there: " + ", ".join(f"{k} {its[k]}, here {mine[k]}" for k in differ) + ".")
    if there.emulator.task.time_step != here.emulator.task.time_step:
        lines.append(f"Its time step is {there.emulator.task.time_step}, here {here.emulator.task.time_step}.")
    lines += _other_scales(here.emulator, there.emulator)
    return lines


def _is_octaves(here: _Network, name: str, value: Tensor, there: _Network) -> bool:
    return isinstance(here.owner(name), AngularKernelLayer) and len(value) > len(there.weights[name])


def _other_scales(here: NeuralEmulator, there: NeuralEmulator) -> list[str]:
    """Return a line on variables whose scales in the new data, which are taken, are not those of the old."""
    mine, its = names_of(here.task.predicted), names_of(there.task.predicted)
    measures: dict[str, Callable[[NeuralEmulator], Tensor]] = {
        "standard deviation": lambda emulator: emulator.inputs.std,
        "what the first guess leaves": lambda emulator: emulator.inputs.std * emulator.correction_std,
    }
    scaled, otherwise = (
        {variable.name: (variable.transform, variable.normaliser) for variable in emulator.task.predicted}
        for emulator in (here, there)
    )
    lines = [
        f"{name} is transformed or normalised otherwise there, so that its weights mean something else here."
        for name in its
        if name in scaled and scaled[name] != otherwise[name]
    ]
    found = []
    for what, measure in measures.items():
        for name in its:
            old, new = float(measure(there)[its.index(name)]), float(measure(here)[mine.index(name)])
            if max(old, new) > OTHER_SCALE * min(old, new):
                found.append(f"{what} of {name} {new:.4g}, there {old:.4g}")
    return lines + ([f"Scales are those of the new data: {'; '.join(found)}."] if found else [])


def _flat(content: Any, path: str = "") -> dict[str, Any]:
    if isinstance(content, Mapping):
        return {key: value for name, item in content.items() for key, value in _flat(item, f"{path}{name}.").items()}
    return {path.rstrip("."): content}
