"""Layers that start at nothing: an untrained emulator is its first guess."""

from __future__ import annotations

from torch import nn


def zeroed(layer: nn.Linear | nn.Conv2d) -> None:
    """Set a layer's weights and constants to zero, in place."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
