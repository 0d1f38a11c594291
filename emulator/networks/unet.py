"""U-Nets: convolutions at several resolutions, each handing its detail on to the way back up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.layers.mlp import zeroed
from emulator.networks.structured import Edges, PaddedConvolution, PaddedUpsampling, StructuredConfig
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class UNetConfig(StructuredConfig):
    """A U-Net (Ronneberger et al. 2015, arXiv:1505.04597); UNet 12 x 2 of APEBench (Koehler et al. 2024,
    arXiv:2411.00180).

    width: channels at full resolution, twice as many at each level below.
    num_levels: times the resolution is halved; an odd number n of rows or columns becomes (n + 1) / 2.
    """

    kind: Literal["unet"] = "unet"
    width: int = 12
    num_levels: int = 2

    def in_words(self) -> str:
        return f"a U-Net [@ronneberger2015] of {self.num_levels} levels and {self.width} channels at full resolution"

    def inside(self, num_inputs: int, num_outputs: int, mesh: Mesh) -> nn.Module:
        return UNet(self, num_inputs, num_outputs, mesh)


class UNet(nn.Module):
    """[batch, input, row, column] to [batch, output, row, column]: down by strides, up by their transposes, joined."""

    def __init__(self, config: UNetConfig, num_inputs: int, num_outputs: int, mesh: Mesh) -> None:
        super().__init__()
        rows, columns = mesh.shape if mesh.structured else (1, mesh.num_nodes)
        edges, width = Edges.of(mesh), config.width
        self.lifting = double_convolution(num_inputs, width, edges)
        self.down, self.left, self.up, self.right = (nn.ModuleList() for _ in range(4))
        for level in range(config.num_levels):
            if columns < 4 or (edges.has_rows and rows < 4):
                raise MeshcastError(
                    f"A U-Net of {config.num_levels} levels halves a {mesh.describe()} until nothing is left to halve. "
                    f"Use num_levels: {max(level, 1)}."
                )
            fine = edges
            edges, rows, columns = fine.halved(rows), -(-rows // 2), -(-columns // 2)
            self.down.append(PaddedConvolution(width, width, fine, stride=2))
            self.left.append(double_convolution(width, 2 * width, edges))
            self.up.append(PaddedUpsampling(2 * width, width, edges))
            self.right.append(double_convolution(2 * width, width, fine))
            width *= 2
        self.projection = nn.Conv2d(config.width, num_outputs, 1)
        zeroed(self.projection)

    def forward(self, values: Tensor) -> Tensor:
        values = self.lifting(values)
        skipped = []
        for down, left in zip(self.down, self.left, strict=True):
            skipped.append(values)
            values = left(down(values))
        for up, right in zip(reversed(self.up), reversed(self.right), strict=True):
            detail = skipped.pop()
            values = right(torch.cat([detail, up(values, *detail.shape[2:])], dim=1))
        return self.projection(values)


def double_convolution(num_inputs: int, num_outputs: int, edges: Edges) -> nn.Sequential:
    """Return twice a convolution, a group normalisation and a ReLU."""
    layers: list[nn.Module] = []
    for channels in (num_inputs, num_outputs):
        layers += [PaddedConvolution(channels, num_outputs, edges), nn.GroupNorm(1, num_outputs), nn.ReLU()]
    return nn.Sequential(*layers)
