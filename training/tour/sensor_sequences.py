"""Readings of a sensor on a turning machine, and what may go wrong with them.

A normal sequence is one wave form, phase-locked to its second harmonic,

    s(t) = (sin θ + 0.4 sin(2θ + 1)) / 1.25,   θ = 2π f t + φ,

of amplitude near one, whose frequency f and phase φ differ from sequence to sequence, and noise. So normal sequences
lie on a curved surface of two dimensions; the plane that holds it has about fourteen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphs.errors import MeshcastError

ANOMALIES = ("spike", "drift", "frequency change", "flat line")
LENGTH = 48  # samples of a sequence
CYCLES = 2.25, 3.75  # least and most turns in one
NOISE = 0.1  # its standard deviation


def normal_sequences(count: int, generator: torch.Generator) -> Tensor:
    """Return [sequence, time] without noise."""
    return _wave_form(*_frequencies_and_phases(count, generator))


def noisy(sequences: Tensor, generator: torch.Generator) -> Tensor:
    """Return sequences [sequence, time] as the sensor reads them."""
    return sequences + NOISE * torch.randn(sequences.shape, generator=generator)


def anomalous_sequences(
    kind: str, count: int, generator: torch.Generator, size: float = 5.0, change: float = 0.25
) -> Tensor:
    """Return [sequence, time] as read, each with one fault at a random time, up or down at random.

    spike: one sample off by `size` standard deviations of the noise.
    drift: a linear ramp from some time in the first half on, off by `size` at the end.
    frequency change: from some time in the middle half on, by the share `change`.
    flat line: the reading at some time is kept for 16 samples, or less: only while it is off by no more than `size` in
        the root mean square.
    """
    frequency, phase = _frequencies_and_phases(count, generator)
    time = torch.arange(LENGTH)
    sign = torch.randint(2, (count, 1), generator=generator) * 2 - 1
    truth, largest = _wave_form(frequency, phase), size * NOISE
    reading = noisy(truth, generator)

    def onset(first: int, end: int) -> Tensor:
        return torch.randint(first, end, (count, 1), generator=generator)

    if kind == "spike":
        return reading + largest * sign * (time == onset(0, LENGTH))
    if kind == "drift":
        start = onset(0, LENGTH // 2)
        return reading + largest * sign * ((time - start) / (LENGTH - 1 - start)).clamp(min=0)
    if kind == "frequency change":
        changed = time >= onset(LENGTH // 4, 3 * LENGTH // 4)
        return noisy(_wave_form(torch.where(changed, frequency * (1 + change * sign), frequency), phase), generator)
    if kind == "flat line":
        return _stuck(reading, truth, onset(0, LENGTH - 16), largest)
    raise MeshcastError(f"An anomaly is one of {', '.join(ANOMALIES)}, not {kind!r}.")


def _stuck(reading: Tensor, truth: Tensor, onset: Tensor, largest: float) -> Tensor:
    """Return the reading kept from its onset [sequence, 1] on, while it is off by no more than `largest`."""
    since = torch.arange(LENGTH) - onset
    kept = reading.gather(1, onset)
    off = torch.where(since > 0, kept - truth, 0.0).square().cumsum(dim=1) / since.clamp(min=1)
    ended = ((since > 0) & (off > largest**2)).cummax(dim=1).values
    return torch.where((since > 0) & (since < 16) & ~ended, kept, reading)


def _frequencies_and_phases(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return turns a sample, [sequence, time], and phases [sequence, 1]."""
    low, high = CYCLES
    cycles = low + (high - low) * torch.rand(count, 1, generator=generator)
    phase = 2 * torch.pi * torch.rand(count, 1, generator=generator)
    return (cycles / LENGTH).expand(-1, LENGTH), phase


def _wave_form(frequency: Tensor, phase: Tensor) -> Tensor:
    angle = 2 * torch.pi * frequency.cumsum(dim=1) + phase
    return (torch.sin(angle) + 0.4 * torch.sin(2 * angle + 1)) / 1.25
