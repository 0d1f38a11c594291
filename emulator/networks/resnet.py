"""Residual networks, classic and dilated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from emulator.networks.layers.mlp import zeroed
from emulator.networks.structured import Edges, PaddedConvolution, StructuredConfig
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(StructuredConfig):
    """A residual network; Res 26 x 8 and, dilated, Dil 2 x 32 x 2 of APEBench (Koehler et al. 2024, arXiv:2411.00180).

    width: channels; num_blocks: residual blocks.
    dilations: empty for blocks of two convolutions. Else each block is a sequence of convolutions of these dilations,
        each after a group normalisation (Stachenfeld et al. 2022, arXiv:2112.15275); Dil 2 x 32 x 2 has width 32,
        2 blocks and [1, 2, 4, 2, 1].
    """

    kind: Literal["resnet"] = "resnet"
    width: int = 26
    num_blocks: int = 8
    dilations: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.dilations, default=1) < 1:
            raise MeshcastError(f"emulator.dilations must be whole numbers from 1 on, but is {list(self.dilations)}.")

    def in_words(self) -> str:
        name = "a residual network [@he2016]"
        if self.dilations:
            name = f"a residual network dilated by {', '.join(map(str, self.dilations))} [@stachenfeld2022]"
        return f"{name} of {self.num_blocks} blocks and {self.width} channels"

    def inside(self, num_inputs: int, num_outputs: int, mesh: Mesh) -> nn.Module:
        return ResidualNetwork(self, num_inputs, num_outputs, mesh)


class ResidualNetwork(nn.Module):
    """[batch, input, row, column] to [batch, output, row, column]: lift each node, add block after block, project."""

    def __init__(self, config: ResNetConfig, num_inputs: int, num_outputs: int, mesh: Mesh) -> None:
        super().__init__()
        edges = Edges.of(mesh)
        block = DilatedBlock if config.dilations else ClassicBlock
        self.lifting = PaddedConvolution(num_inputs, config.width, edges, kernel_size=1)
        self.blocks = nn.Sequential(*(block(config, edges) for _ in range(config.num_blocks)))
        self.projection = nn.Conv2d(config.width, num_outputs, 1)
        zeroed(self.projection)

    def forward(self, values: Tensor) -> Tensor:
        return self.projection(self.blocks(self.lifting(values)))


class ClassicBlock(nn.Module):
    """relu(x + c2(relu(c1(x)))), He et al. (2016), arXiv:1512.03385, without normalisation."""

    def __init__(self, config: ResNetConfig, edges: Edges) -> None:
        super().__init__()
        self.first = PaddedConvolution(config.width, config.width, edges)
        self.second = PaddedConvolution(config.width, config.width, edges)

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.relu(values + self.second(nn.functional.relu(self.first(values))))


class DilatedBlock(nn.Module):
    """x + relu(c_k(norm(... relu(c_1(norm(x)))))), every convolution of its own dilation."""

    def __init__(self, config: ResNetConfig, edges: Edges) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for dilation in config.dilations:
            convolution = PaddedConvolution(config.width, config.width, edges, dilation=dilation)
            layers += [nn.GroupNorm(1, config.width), convolution, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, values: Tensor) -> Tensor:
        return values + self.layers(values)
