"""Long short-term memory over the history of a state: of each node with its neighbours, or of the whole field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.mlp import zeroed
from emulator.networks.layers.surroundings import Surroundings
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh

RING_RADIUS, SPHERE_RADIUS = 8, 1


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(NetworkConfig):
    """A recurrent network over the states of the history, `task.history` of them.

    scope: `node`, each node with its surroundings, weights shared by all; `whole`, all nodes at once, weights bound to
        the mesh.
    width: of the hidden state; num_layers: one upon the other.
    radius: of the surroundings a node sees: hops on a ring or a mesh of triangles, rows and columns on a grid; 8 on
        a ring and 1 elsewhere where null. Of no meaning to scope `whole`.
    """

    family = "feed-forward, recurrent, attention"
    kind: Literal["lstm"] = "lstm"
    scope: Literal["node", "whole"] = "node"
    width: int = 64
    num_layers: int = 1
    radius: int | None = None

    def in_words(self) -> str:
        of = "all nodes at once" if self.scope == "whole" else "a node and its surroundings"
        return f"long short-term memory [@hochreiter1997] of {of}, {self.num_layers} layer(s) of width {self.width}"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        return (WholeLSTM if self.scope == "whole" else NodeLSTM)(self, layout, mesh)


class LSTM(nn.Module):
    """The last hidden state of an LSTM (Hochreiter and Schmidhuber 1997), and a linear map of it.

        i, f, o = σ(W x_t + U h + b),   g = tanh(W x_t + U h + b),   c <- f c + i g,   h <- o tanh c

    The hidden state begins at zero at every call, since all an emulator remembers is its State: the past comes in with
    the history, and with a history of one this is a gated feed-forward network. Forget gates start open, b = 1
    (Jozefowicz et al. 2015). Gates stand in torch's order i, f, g, o; it has two biases, whose sum is what counts.
    """

    def __init__(self, num_inputs: int, width: int, num_layers: int, num_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, width, num_layers, batch_first=True)
        for layer in range(num_layers):
            first, second = getattr(self.lstm, f"bias_ih_l{layer}"), getattr(self.lstm, f"bias_hh_l{layer}")
            with torch.no_grad():
                first.zero_()
                second.zero_()
                first[width : 2 * width] = 1.0
        self.decoder = nn.Linear(width, num_outputs)
        zeroed(self.decoder)

    def forward(self, sequence: Tensor) -> Tensor:
        """Return [sample, output] from [sample, time, input]."""
        return self.decoder(self.lstm(sequence)[0][:, -1])


class NodeLSTM(nn.Module):
    """One LSTM for all nodes, each hearing its surroundings at every time: [batch, node, input] to [.., output].

    Nodes receive their neighbours' inputs and not their hidden states, so that the field of view is `radius`.
    """

    def __init__(self, config: LSTMConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        self.layout = layout
        self.surroundings = Surroundings(mesh, config.radius or default_radius(mesh), layout.sequence_winds)
        num_inputs = self.surroundings.num_received * layout.num_each
        self.layers = LSTM(num_inputs, config.width, config.num_layers, layout.num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        received = self.surroundings(self.layout.sequence(features)).transpose(1, 2)  # [batch, node, time, received]
        return self.layers(received.flatten(0, 1)).unflatten(0, received.shape[:2])


class WholeLSTM(nn.Module):
    """An LSTM over the whole field: [batch, node, input] to [batch, node, output]; knows where, not who is near."""

    def __init__(self, config: LSTMConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        self.layout, self.shape = layout, (mesh.num_nodes, layout.num_outputs)
        num_inputs, num_outputs = mesh.num_nodes * layout.num_each, mesh.num_nodes * layout.num_outputs
        self.layers = LSTM(num_inputs, config.width, config.num_layers, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(self.layout.sequence(features).flatten(2)).unflatten(1, self.shape)


def default_radius(mesh: Mesh) -> int:
    """Return eight hops on a ring, as far as it goes, and the adjoining nodes elsewhere."""
    return max(1, min(RING_RADIUS, (mesh.num_nodes - 1) // 2)) if mesh.domain.kind == "ring" else SPHERE_RADIUS
