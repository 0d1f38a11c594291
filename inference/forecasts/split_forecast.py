"""A forecast whose graph is split over several processes: all of them take its steps, and the first one writes."""

from __future__ import annotations

from typing import Protocol

import torch

from emulator.forcings import ForcingWindows
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.shard_group import ShardGroup
from emulator.foundation.threads import num_threads, threads_given
from emulator.neural import NeuralEmulator
from emulator.protocol import Emulator
from emulator.state import State
from graphs.errors import MeshcastError
from inference.forecasts.forecast import GuardedRollout
from inference.forecasts.guard import Guard, Stop


class Options(Protocol):
    """What of `ForecastOptions` matters here."""

    @property
    def resume(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def parts(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def threads(self) -> int | None: ...


def split_over_processes(emulator: Emulator) -> ShardGroup | None:
    """Return the processes that an emulator is split over; None where it is whole."""
    return emulator.group if isinstance(emulator, NeuralEmulator) else None


def refuse_unsplittable(options: Options) -> None:
    """Raise MeshcastError where a forecast asks for what an emulator split over several processes does not do."""
    asked = {"--resume": options.resume, "--device": options.device != "cpu", "parts of a step": options.parts > 1}
    if found := [name for name, unwanted in asked.items() if unwanted]:
        raise MeshcastError(
            f"A forecast over several processes goes without {', '.join(found)}. Leave that out, or forecast in one "
            "process, without --shards."
        )


def computed_along(
    emulator: Emulator, state: State, forcings: ForcingWindows, guard: Guard | None, steps: int, options: Options
) -> list[Stop]:
    """Take part in the steps of a forecast that another process writes, and return the guard's stops."""
    keep_freed_memory()
    generator = torch.Generator().manual_seed(options.seed)
    rolled = GuardedRollout(emulator, state, forcings, guard, generator=generator)
    with num_threads(threads_given(options.threads) or torch.get_num_threads()):
        for _ in rolled.steps(steps):
            pass
    return rolled.stops
