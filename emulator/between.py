"""States between the steps of an emulator: a small network corrects interpolation from one state to the next."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Annotated, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from emulator.emulator_config import EmulatorConfig
from emulator.features.conservation import Conservation
from emulator.features.inputs import Inputs
from emulator.forcings import ForcingWindows
from emulator.foundation.low_precision import Precision, products_in
from emulator.foundation.time_step import TimeStep
from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.keras_networks.keras_models import KerasConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.neural import NeuralEmulator
from emulator.protocol import Emulator
from emulator.state import State, Step, predicted_fields
from emulator.task import Task, refuse_transforms, wind_pairs
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.kinds import ByKind

MOST_TERMS = 32
UNUSED = ("first_guess", "node_statistics", "departures")  # what only an emulator has


@dataclass(frozen=True, kw_only=True)
class BetweenConfig:
    """A network for states between steps, so that an emulator of 12 or 24 hours a step gives hourly maps.

    network: of any kind in PyTorch; a graph network without a `graph` of its own takes the emulator's. It sees what the
        emulator sees, and the change over the step. By default one as the emulator's own, which starts from its
        weights.
    terms: polynomials in time by which it corrects linear interpolation, at most as many as the data have times within
        a step.
    share: of `training.minutes`, which the emulator's own network then has less; of `training.updates`, as many more.
    """

    network: Annotated[EmulatorConfig, ByKind] | None = None
    terms: int = 3
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.network is not None:
            _refuse_other_than_plain(self.network)
        if not 1 <= self.terms <= MOST_TERMS:
            raise MeshcastError(f"between.terms must be 1 to {MOST_TERMS}, but is {self.terms}.")
        if not 0 < self.share < 1:
            raise MeshcastError(f"between.share must lie between 0 and 1, but is {self.share}.")

    def for_emulator(self, emulator: EmulatorConfig) -> BetweenConfig:
        """Return it with a network, by default one as the emulator's own. Raises MeshcastError for one of Keras."""
        if self.network is not None:
            return self
        if not _is_in_pytorch(emulator):
            raise MeshcastError(
                f"An emulator of kind {emulator.kind} is no network in PyTorch, which one between its steps could be "
                "like. Name one in between.network, as {kind: gnn}."
            )
        plain = {name: getattr(NetworkConfig(), name) for name in UNUSED}
        if isinstance(emulator, GNNConfig):
            plain |= {"conserving": "fixer", "graph": None}  # the emulator's graphs are at hand
        return replace(self, network=replace(emulator, **plain))


def _is_in_pytorch(config: EmulatorConfig) -> TypeGuard[NetworkConfig]:
    return isinstance(config, NetworkConfig) and not isinstance(config, KerasConfig)


def _refuse_other_than_plain(network: EmulatorConfig) -> None:
    if not _is_in_pytorch(network):
        raise MeshcastError(f"between.network is a network in PyTorch, not of kind {network.kind}. Choose gnn, say.")
    for name in UNUSED:
        if getattr(network, name) != getattr(NetworkConfig(), name):
            raise MeshcastError(
                f"between.network.{name} has no use: it sees what the emulator sees, and corrects a straight line."
            )


class Between(nn.Module):
    """States at any fraction f of a step, 0 < f < 1, from the two around them.

        x(t + f) = x(t) + f (x(t + 1) - x(t)) + f (1 - f) Σ_k P_k(2 f - 1) s_k c_k

    P_k are Legendre polynomials, and c_k what the network says: it is asked once a step, however many states are
    wanted, and both ends hold whatever it says. With two terms this is cubic Hermite interpolation whose tendencies
    are learnt. A diagnostic variable, unknown at t, is d(t + 1) + (1 - f) Σ_k P_k(2 f - 1) s_k c_k.

    Area means, bounds, masks and given boundaries are held to as the emulator holds to them.

    emulator: whose inputs, forcings and statics the network sees, and the change over the step.
    terms: number of polynomials. graphs: for a network that has none of its own to build; see `BetweenConfig`.
    precision: of the network's products, as `emulator.neural.in_precision` has it.
    change_std: [prognostic] of the change over a step; correction_std: [term, predicted] s_k; both normalised.
    """

    def __init__(
        self, config: BetweenConfig, emulator: NeuralEmulator, terms: int, graphs: ModelGraphs | None = None
    ) -> None:
        super().__init__()
        refuse_transforms(emulator.task, "A network for states between steps")
        assert isinstance(config.network, NetworkConfig)
        self.config, self._emulator = config, (emulator,)  # in a tuple: it is not for this module to store
        shared = graphs is not None and (graphs.encoder is None or isinstance(config.network, GNNConfig))
        given = graphs if shared and getattr(config.network, "graph", None) is None else None
        layout = layout_between(emulator.task, emulator.inputs, terms)
        self.network = config.network.build(layout, emulator.mesh, given)
        self.precision: Precision = "float32"
        self.conservation = Conservation(emulator.task, emulator.mesh)
        self.change_std = nn.Buffer(torch.ones(len(emulator.task.prognostic)))
        self.correction_std = nn.Buffer(torch.ones(terms, len(emulator.task.predicted)))

    @property
    def emulator(self) -> NeuralEmulator:
        return self._emulator[0]

    @property
    def task(self) -> Task:
        return self.emulator.task

    def beside(self, emulator: Emulator) -> Between:
        """Return it in the precision of an emulator of the same weights."""
        other = copy(self)
        other.precision = getattr(emulator, "precision", "float32")
        return other

    @torch.no_grad()
    def start_from(self, network: nn.Module) -> None:
        """Take over the weights of the emulator's network, but for its outputs, which are others.

        Its inputs are the first of this one's: the columns for the rest keep their weights.
        """
        given = dict(network.named_parameters())
        for name, weight in self.network.named_parameters():
            other = given.get(name)
            if other is None or other.shape[:1] != weight.shape[:1] or other.ndim != weight.ndim or not weight.any():
                continue  # an output, which starts at zero
            both = tuple(slice(0, min(sizes)) for sizes in zip(other.shape, weight.shape, strict=True))
            weight[both] = other[both]

    def coefficients(self, state: State, forcing: Tensor, step: Step) -> Tensor:
        """Return the sum's s_k c_k [batch, member, term, node, predicted] in physical units.

        forcing: of the step, as `emulator.step` takes it; step: what that returned.
        """
        inputs, count = self.emulator.inputs, len(self.task.prognostic)
        following, diagnostic = step
        change = (following.now - state.now) / (inputs.std[:count] * self.change_std)
        parts = [inputs.features(state, forcing), torch.nan_to_num(change).flatten(0, 1)]
        if diagnostic is not None:
            after = predicted_fields(step).flatten(0, 1)
            parts.append(torch.nan_to_num(inputs.targets(state, after)[..., count:]))
        with products_in(self.precision, change.device.type):
            output = self.network(torch.cat(parts, dim=-1)).to(change.dtype)  # [batch · member, node, term · predicted]
        terms = output.unflatten(-1, self.correction_std.shape).movedim(-2, 1)
        scaled = terms * (self.correction_std * inputs.std)[:, None]
        return scaled.unflatten(0, state.values.shape[:2])

    def at(
        self, fraction: float, state: State, step: Step, coefficients: Tensor, given: Tensor | None = None
    ) -> Tensor:
        """Return prognostic and diagnostic variables [batch, member, node, predicted] at a fraction of the step.

        given: [batch, node, prognostic] at that time, of which the boundary of a limited area is taken.
        """
        (following, diagnostic), before, inputs = step, state.now, self.emulator.inputs
        count, basis = before.shape[-1], torch.from_numpy(legendre(np.array([fraction]), len(self.correction_std))[0])
        correction = (coefficients * basis.to(coefficients)[:, None, None]).sum(dim=2)
        values = torch.lerp(before, following.now, fraction) + fraction * (1 - fraction) * correction[..., :count]
        if diagnostic is not None:
            values = torch.cat([values, diagnostic + (1 - fraction) * correction[..., count:]], dim=-1)
        values = values.clamp(inputs.lower.to(values.dtype), inputs.upper.to(values.dtype))
        now = self.conservation(before, values[..., :count])
        if self.task.boundary:
            assert given is not None, "a limited area is given its boundary at every time"
            now = torch.where(inputs.boundary[:, None], given[:, None].to(now), now)
        now = torch.where(torch.isnan(before), before, now)  # masked nodes stay masked
        return torch.cat([now, values[..., count:].to(now)], dim=-1)

    def states(self, state: State, step: Step, forcings: ForcingWindows, done: int, parts: int) -> Iterator[Tensor]:
        """Yield the states [batch, member, node, predicted] within a step that is divided in so many parts.

        step: from `state`, the one after `done` of them.
        """
        coefficients = self.coefficients(state, forcings.window(state, self.task, done), step)
        part = self.task.time_step.part(parts)
        for number in range(1, parts):
            given = None
            if self.task.boundary:
                bare = Task(self.task.predicted, part.times(number), boundary=True)
                given = forcings.window(state, bare, done)[:, -1]
            yield self.at(number / parts, state, step, coefficients, given)


def legendre(fractions: np.ndarray, terms: int) -> np.ndarray:
    """Return P_k(2 f - 1) [fraction, term]."""
    return np.polynomial.legendre.legvander(2 * fractions - 1, terms - 1)


def layout_between(task: Task, inputs: Inputs, terms: int) -> FeatureLayout:
    """Return the layout of the emulator's features, then the change over the step; and of as many outputs a term."""
    layout, pairs, count = FeatureLayout.of(task, inputs), wind_pairs(task), len(task.predicted)
    return replace(
        layout,
        num_inputs=layout.num_inputs + count,
        num_outputs=terms * count,
        winds=(*layout.winds, *((layout.num_inputs + u, layout.num_inputs + v) for u, v in pairs)),
        output_winds=tuple((term * count + u, term * count + v) for term in range(terms) for u, v in pairs),
        conserved=(),
    )


def parts_of_a_step(time_step: TimeStep, every: str, between: Between | None) -> tuple[int, int]:
    """Return in how many parts outputs divide a step, and how many of these lie from one output to the next.

    every: `1h`, `2d`, `3 steps`: whole steps, or a whole fraction of one where there is a network for that.
    Raises MeshcastError where it is neither, or there is none.
    """
    parts = time_step.parts_of(every, "interval --every")
    if parts == 1:
        return 1, time_step.steps_in(every, "interval --every")
    if between is None:
        raise MeshcastError(
            f"This emulator steps by {time_step}, and has no network for states between its steps: it cannot be "
            f"written every {every}. Choose whole steps, or train it with a section `between` in its configuration."
        )
    return parts, 1
