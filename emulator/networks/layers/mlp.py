"""Multi-layer perceptrons, applied to each node alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int], zero_last: bool = False) -> nn.Sequential:
    """Return linear layers of these sizes with SiLU between; with `zero_last` the last one starts at zero."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    layers.pop()
    if zero_last:
        last = layers[-1]
        assert isinstance(last, nn.Linear)
        zeroed(last)
    return nn.Sequential(*layers)


def zeroed(layer: nn.Linear | nn.Conv2d) -> None:
    """Set a layer's weights and constants to zero, in place: an untrained emulator is its first guess."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
