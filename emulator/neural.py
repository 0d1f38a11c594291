"""A network as an emulator: normalise, guess, correct, advance."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.first_guess import ForcedStep, SolverStep
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.boundary import overwritten
from emulator.features.inputs import Inputs
from emulator.foundation.low_precision import Precision, products_in
from emulator.foundation.shard_group import ShardGroup
from emulator.networks.gnn import EncodeProcessDecode
from emulator.networks.keras_networks.keras_network import KerasNetwork
from emulator.protocol import Emulator
from emulator.state import State, Step
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.partition import Division


class NeuralEmulator(nn.Module):
    """A network that corrects a first guess of the next state.

        x(t + 1) = guess(x) + s · network(x, forcing, static)        in normalised units

    s is the standard deviation of what the guess leaves, so that the network always learns a target of order one. With
    a decoder that starts at zero the untrained emulator is its guess, and the network learns the rest.

    inputs: the scales of the training part, float32.
    network: [batch, node, feature] to [batch, node, predicted], features as `inputs.features` orders them.
    first_guess: [batch, node, feature] to the normalised next values [batch, node, predicted]; None is persistence. A
        `SolverStep` gives features for the network as well.
    correction_std: [predicted], s above.
    node_weights: [node, predicted] what each node counts for in a loss and in validation: its area, none at a boundary.
    precision: of the network's products; see `in_precision`.
    group, division: of the nodes that it holds, and of all, where it is split over several processes; see `hold`.
    """

    def __init__(
        self, task: Task, mesh: Mesh, inputs: Inputs, network: nn.Module, first_guess: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.task, self.mesh = task, mesh
        self.inputs = inputs.float()
        self.network = network
        self.first_guess = first_guess
        self.precision: Precision = "float32"
        self.correction_std = nn.Buffer(torch.ones(len(task.predicted)))
        weights = torch.from_numpy(mesh.weights).float()[:, None].repeat(1, len(task.predicted))
        self.node_weights = nn.Buffer(weights, persistent=False)
        self.group: ShardGroup | None = None
        self.division: Division | None = None

    def hold(self, group: ShardGroup) -> NDArray[np.int64]:
        """Hold the nodes of one shard alone from now on, as its network does, and return them [own node].

        What is stored stays the whole's. A step then takes states and forcings of these nodes and gives the like, as in
        a training; or, of all nodes, it takes them in every process of the graph at once and gives all nodes to each,
        as any other emulator does.
        Raises MeshcastError where its first guess needs other nodes.
        """
        assert isinstance(self.network, EncodeProcessDecode) and self.network.partition is not None
        division = self.network.partition.grid
        nodes = division.nodes(group.shard.number)
        if isinstance(self.first_guess, NeighbourhoodMap) and len(self.first_guess.neighbours) == 1:
            self.first_guess.neighbours = nn.Buffer(torch.arange(len(nodes))[None], persistent=False)
        elif self.first_guess is not None:
            raise MeshcastError(
                "An emulator split over several processes corrects persistence, or a ridge regression of each node by "
                "itself. Set first_guess: {kind: persistence} or {kind: ridge, radii: [0]}, or leave the graph whole: "
                "training.shards=1."
            )
        self.inputs.hold(group, nodes)
        self.node_weights = nn.Buffer(self.node_weights[torch.from_numpy(nodes)], persistent=False)
        self.group, self.division = group, division
        return nodes

    def over_all_nodes(self) -> AbstractContextManager[None]:
        """Return a context in which means over nodes are over those of all shards, where it holds one's alone."""
        return nullcontext() if self.group is None else self.group.holding()

    def of_all_nodes(self, values: Tensor) -> Tensor:
        """Return fields [..., node, variable] of all nodes of the mesh; every process of a graph calls it at once."""
        if self.group is None or self.division is None:
            return values
        return self.group.whole(values, self.division, axis=-2)

    def guess(self, features: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Return the first guess [batch · member, node, predicted] of the normalised next values, in full precision,
        and the features [batch · member, node, input] that the network sees, with those of a solver's step.

        state: whose features they are; of its values none is read, only its times."""
        if self.first_guess is not None:
            # Mixed precision is for the network: three digits of the state itself would drown what it corrects.
            with torch.autocast(features.device.type, enabled=False):
                if isinstance(self.first_guess, ForcedStep):
                    return self.first_guess(features, np.repeat(state.valid_time, state.values.shape[1])), features
                guess = self.first_guess(features)
            if not isinstance(self.first_guess, SolverStep):
                return guess, features
            guess, seen = guess
            return guess, torch.cat([features, seen], dim=-1) if self.first_guess.config.seen else features
        inputs = self.inputs
        now = features[..., inputs.num_fields - inputs.num_prognostic : inputs.num_fields]
        return nn.functional.pad(now, (0, len(self.task.diagnostic))), features  # a diagnostic variable is its mean

    def correction(self, features: Tensor) -> Tensor:
        """Return what the network makes of features [batch · member, node, input], in its precision."""
        with products_in(self.precision, features.device.type):
            return self.network(features).to(features.dtype)

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        """Return the state one time step later, and the diagnostic variables; see `emulator.protocol.Emulator`."""
        if self.inputs.held is not None and state.values.shape[3] == self.mesh.num_nodes:  # a shard has fewer
            own = replace(state, values=state.values.index_select(3, self.inputs.held))
            following, diagnostic = self.step(own, forcing.index_select(2, self.inputs.held), generator)
            now = self.of_all_nodes(following.now)
            diagnostic = None if diagnostic is None else self.of_all_nodes(diagnostic)
            return state.followed_by(now, following.valid_time), diagnostic
        guess, features = self.guess(self.inputs.features(state, forcing), state)
        normalised = guess + self.correction_std * self.correction(features)
        following, diagnostic = self.inputs.advance(state, normalised)
        if self.task.boundary:
            following = overwritten(following, forcing, self.task, self.inputs.boundary)
        return following, diagnostic


def in_precision(emulator: Emulator, precision: Precision) -> Emulator:
    """Return an emulator of the same weights whose network runs in float32 or bfloat16, for forecasts.

    The network alone runs in bfloat16, by autocast; normalisation, first guess and the state stay in float32.
    Raises MeshcastError where the emulator is no network of PyTorch's.
    """
    if precision not in get_args(Precision):
        raise MeshcastError(f"The precision of a forecast is {' or '.join(get_args(Precision))}, but is {precision!r}.")
    network = getattr(emulator, "network", None)
    if precision == "float32" and getattr(emulator, "precision", precision) == precision:
        return emulator
    if not isinstance(emulator, NeuralEmulator) or isinstance(network, KerasNetwork):
        what = "its network is Keras's" if isinstance(network, KerasNetwork) else "it has no network"
        raise MeshcastError(
            f"Only networks in PyTorch forecast in {precision}, but of this emulator {what}. Leave --precision away, "
            "or set it to float32."
        )
    other = copy(emulator)
    other.precision = precision
    return other


def precision_of(emulator: Emulator) -> dict[str, str]:
    """Return what a forecast's attributes say of the precision of a network; nothing of an emulator without one."""
    return {"precision": emulator.precision} if isinstance(emulator, NeuralEmulator) else {}
