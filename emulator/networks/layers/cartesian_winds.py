"""Winds as Cartesian vectors, which are the same seen from every node: no frame turns between a node and another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from emulator.networks.layers.constants import constant
from emulator.networks.layers.feature_layout import FeatureLayout
from graphs.geometry import tangent_frames
from graphs.mesh import Mesh


class CartesianWinds(nn.Module):
    """Eastward and northward components (u, v) taken to w = u e + v n in space on the way in, and back on the way out.

    e, n are a node's unit vectors east and north. So a wind over the pole is one wind for all nodes there, though its
    components change sign. On the way back the vertical part is dropped: u = w · e, v = w · n. On a ring, and without
    winds, nothing changes.

    layout: of what comes in and goes out.
    inside: of what a network between the two sees and gives: x for u, y for v, and z behind the fields of its time, or
        behind all columns where it belongs to no time.
    """

    def __init__(self, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        on_sphere = mesh.domain.kind != "ring"
        self.winds = layout.winds if on_sphere else ()
        self.output_winds = layout.output_winds if on_sphere else ()
        self.inside = replace(
            layout,
            num_prognostic=layout.num_prognostic + len(self.output_winds),
            num_inputs=layout.num_inputs + len(self.winds),
            num_outputs=layout.num_outputs + len(self.output_winds),
            winds=(),
            output_winds=(),
        )
        axes = np.stack(tangent_frames(mesh.positions)) if self.winds else np.zeros((2, 0, 3))
        self.axes = constant(axes)  # [east or north, node, xyz]
        self.order = constant(np.array(self._order(layout)))

    def enter(self, features: Tensor) -> Tensor:
        """Return [batch, node, input] as `inside` orders it."""
        if not self.winds:
            return features
        east, north = self.axes.to(features.dtype)
        columns = list(features.unbind(-1))
        for u, v in self.winds:
            x, y, z = (features[..., [u]] * east + features[..., [v]] * north).unbind(-1)
            columns[u], columns[v] = x, y
            columns.append(z)
        return torch.stack(columns, dim=-1).index_select(-1, self.order)

    def leave(self, output: Tensor) -> Tensor:
        """Return [batch, node, output] with components east and north, from the output of a network inside."""
        if not self.output_winds:
            return output
        columns = list(output.unbind(-1))
        for u, v in reversed(self.output_winds):
            wind = torch.stack([columns[u], columns[v], columns.pop()], dim=-1)
            columns[u], columns[v] = (torch.sum(wind * axis.to(output.dtype), dim=-1) for axis in self.axes)
        return torch.stack(columns, dim=-1)

    def _order(self, layout: FeatureLayout) -> list[int]:
        order: list[int] = []
        block = layout.num_prognostic
        third = {u: layout.num_inputs + k for k, (u, _) in enumerate(self.winds)}
        for first in range(0, layout.num_fields, block):
            order += range(first, first + block)
            order += [place for u, place in third.items() if first <= u < first + block]
        order += range(layout.num_fields, layout.num_inputs)
        return order + [place for u, place in third.items() if u >= layout.num_fields]
