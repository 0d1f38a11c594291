"""Activation checkpointing: what a network computes within is computed again for its gradient, in place of being kept.

An update then keeps what enters each part, and of what happens inside of one part at a time (Chen et al. 2016,
arXiv:1604.06174). The same operations run in the same order, so that gradients are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emulator.protocol import Emulator
from emulator.state import State, Step
from emulator.task import Task
from graphs.mesh import Mesh

Result = TypeVar("Result")

_KEEPS_NOTHING = ContextVar("keeps_nothing", default=False)


class RoundByRound(nn.Module):
    """A network, or a part of one, with rounds of messages that may be computed again for their gradient.

    recomputes: whether they are; see `recompute_rounds`.
    """

    recomputes = False

    def in_round(self, one: Callable[..., Result], *inputs: Any) -> Result:
        """Return what a round makes of its inputs; several of them in one module see to it themselves."""
        if self.recomputes and torch.is_grad_enabled() and not isinstance(one, RoundByRound):
            return recomputed(one, *inputs)
        return one(*inputs)


def recompute_rounds(network: nn.Module, recomputes: bool = True) -> bool:
    """Have every round of messages of a network computed again for its gradient, and return whether it has rounds."""
    parts = [module for module in network.modules() if isinstance(module, RoundByRound)]
    for part in parts:
        part.recomputes = recomputes
    return bool(parts)


class RecomputedSteps:
    """An emulator whose steps are computed again for their gradient: of a rollout the states alone are kept."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    @property
    def task(self) -> Task:
        return self.emulator.task

    @property
    def mesh(self) -> Mesh:
        return self.emulator.mesh

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        """Return the state one time step later, and the diagnostic variables; see `emulator.protocol.Emulator`."""
        assert generator is None, "a step that draws random numbers would draw others when it is computed again"
        if not torch.is_grad_enabled():
            return self.emulator.step(state, forcing)
        return recomputed(self.emulator.step, state, forcing)


def recomputed(function: Callable[..., Result], *inputs: Any) -> Result:
    """Return what a function makes of its inputs, which it makes again when the gradient asks for what it kept."""

    def inside(*given: Any) -> Result:
        with keeping_nothing():
            return function(*given)

    result: Result = checkpoint(inside, *inputs, use_reentrant=False)
    return result


@contextmanager
def keeping_nothing() -> Iterator[None]:
    """Have what runs in a block keep for its gradient nothing but what PyTorch saves, which alone is computed again."""
    before = _KEEPS_NOTHING.set(True)
    try:
        yield
    finally:
        _KEEPS_NOTHING.reset(before)


def keeps_nothing() -> bool:
    """Return whether this runs within `keeping_nothing`.

    Graphs that a function goes back through within its own backward pass must not be kept there: each such pass is
    another to PyTorch, and would compute all of a round or step again, and hold it.
    """
    return _KEEPS_NOTHING.get()
