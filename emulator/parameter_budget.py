"""Networks of equal size: the width at which a configuration has nearly a given number of weights; and of sane size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from emulator.emulator_config import EmulatorConfig
from emulator.networks.config import NetworkConfig
from graphs.errors import MeshcastError

WIDEST = 1 << 20  # where no network of a sane count is


@contextmanager
def limited_weights(most: int, where: str) -> Iterator[None]:
    """Refuse a network that is built within as soon as it has more than `most` weights.

    Weights are counted where they are declared, before numbers are drawn for them.
    where: what allows no more, for the message.
    """
    weights = 0

    def count(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        nonlocal weights
        weights += 0 if weight is None else weight.numel()
        if weights > most:
            raise MeshcastError(f"A network with {weights:,} or more weights does not fit {where}.")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def with_parameters(config: NetworkConfig, count: int, num_parameters: Callable[[NetworkConfig], int]) -> NetworkConfig:
    """Return the configuration whose width makes its trainable weights come nearest to `count`, all else as it was.

    The width of a graph network is `processor.latent_size`, and `hidden_size` with it at the ratio they had; that of
    a network with heads stays a multiple of them. Of two widths as near the narrower is taken.

    num_parameters: trainable weights of the network a configuration builds, asked some five to ten times.
    Raises MeshcastError for plug-ins, whose options are their own, and where even the narrowest is larger.
    """
    unit = config.width_unit
    counts: dict[int, int] = {}

    def size(width: int) -> int:
        if width not in counts:
            counts[width] = num_parameters(config.with_width(unit * width))
        return counts[width]

    size(1)  # refuses what has no width
    width = _nearest_width(size, count, max(1, round(config.width / unit)))  # type: ignore[attr-defined]
    if width is None:
        raise MeshcastError(
            f"{count:,} parameters are too few for this {config.kind}: with a width of {unit} it has {size(1):,}. "
            f"Allow at least that many, or use fewer layers."
        )
    return config.with_width(unit * width)


def width_keys() -> set[str]:
    """Return the keys of an emulator's section that `with_parameters` changes, of whatever kind."""
    return {cls.width_key for cls in EmulatorConfig.registered.values() if issubclass(cls, NetworkConfig)}


def _nearest_width(size: Callable[[int], int], count: int, first: int) -> int | None:
    """Return the width whose size is nearest to `count`; None where width 1 is larger already.

    Sizes grow between width and its square: guesses by the square home in, and are halved beyond the bracket.
    """
    if size(1) > count:
        return None
    low, high, guess = 1, WIDEST, first
    while high - low > 1:
        guess = min(max(guess, low + 1), high - 1)
        if high < WIDEST and min(guess - low, high - guess) * 8 < high - low:
            guess = (low + high) // 2
        if size(guess) > count:
            high = guess
        else:
            low = guess
        guess = round(guess * (count / size(guess)) ** 0.5)
    return low if high == WIDEST or count - size(low) <= size(high) - count else high
