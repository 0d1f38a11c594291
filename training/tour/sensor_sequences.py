"""Readings of a sensor on a machine that turns at a speed of its own, and what may go wrong with them.

A normal sequence is one wave form, phase-locked to its second harmonic,

    s(t) = (sin θ + 0.4 sin(2θ + 1)) / 1.25,   θ = 2π f t + φ,

of amplitude near one, whose frequency f and phase φ differ from sequence to sequence, and noise. So normal sequences
lie on a curved surface of two dimensions; the plane that holds it has about fourteen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphs.errors import MeshcastError

ANOMALIES = ("spike", "drift", "frequency change", "flat line")


@dataclass(frozen=True)
class SensorConfig:
    """A sensor.

    length: samples of a sequence. cycles: least and most turns in one. noise: its standard deviation.
    """

    length: int = 48
    cycles: tuple[float, float] = (2.25, 3.75)
    noise: float = 0.1


def normal_sequences(config: SensorConfig, count: int, generator: torch.Generator) -> Tensor:
    """[sequence, time] without noise."""
    return _wave_form(_angles(*_speeds_and_phases(config, count, generator)))


def noisy(config: SensorConfig, sequences: Tensor, generator: torch.Generator) -> Tensor:
    """Sequences [sequence, time] as the sensor reads them."""
    return sequences + config.noise * torch.randn(sequences.shape, generator=generator)


def anomalous_sequences(
    kind: str, config: SensorConfig, count: int, generator: torch.Generator, size: float = 5.0, change: float = 0.25
) -> Tensor:
    """[sequence, time] as read, each with one fault at a random time, up or down at random.

    spike: one sample off by `size` standard deviations of the noise.
    drift: a linear ramp from some time in the first half on, off by `size` at the end.
    frequency change: from some time in the middle half on, by the share `change`.
    flat line: the reading at some time is kept for 16 samples, or less: only while it is off by no more than `size` in
        the root mean square.
    """
    frequency, phase = _speeds_and_phases(config, count, generator)
    time = torch.arange(config.length)
    sign = torch.randint(2, (count, 1), generator=generator) * 2 - 1
    truth, largest = _wave_form(_angles(frequency, phase)), size * config.noise
    reading = noisy(config, truth, generator)
    if kind == "spike":
        return reading + largest * sign * (time == _moment(0, config.length, count, generator))
    if kind == "drift":
        onset = _moment(0, config.length // 2, count, generator)
        return reading + largest * sign * ((time - onset) / (config.length - 1 - onset)).clamp(min=0)
    if kind == "frequency change":
        onset = _moment(config.length // 4, 3 * config.length // 4, count, generator)
        changed = torch.where(time >= onset, frequency * (1 + change * sign), frequency)
        return noisy(config, _wave_form(_angles(changed, phase)), generator)
    if kind == "flat line":
        onset = _moment(0, config.length - 16, count, generator)
        return _stuck(reading, truth, onset, largest)
    raise MeshcastError(f"An anomaly is one of {', '.join(ANOMALIES)}, not {kind!r}.")


def _stuck(reading: Tensor, truth: Tensor, onset: Tensor, largest: float) -> Tensor:
    """The reading kept from its onset [sequence, 1] on, while it is off by no more than `largest`."""
    since = torch.arange(reading.shape[1]) - onset
    kept = reading.gather(1, onset)
    off = torch.where(since > 0, kept - truth, 0.0).square().cumsum(dim=1) / since.clamp(min=1)
    ended = ((since > 0) & (off > largest**2)).cummax(dim=1).values
    return torch.where((since > 0) & (since < 16) & ~ended, kept, reading)


def _speeds_and_phases(config: SensorConfig, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turns a sample, [sequence, time], and phases [sequence, 1]."""
    low, high = config.cycles
    cycles = low + (high - low) * torch.rand(count, 1, generator=generator)
    phase = 2 * torch.pi * torch.rand(count, 1, generator=generator)
    return (cycles / config.length).expand(-1, config.length), phase


def _angles(frequency: Tensor, phase: Tensor) -> Tensor:
    return 2 * torch.pi * frequency.cumsum(dim=1) + phase


def _wave_form(angle: Tensor) -> Tensor:
    return (torch.sin(angle) + 0.4 * torch.sin(2 * angle + 1)) / 1.25


def _moment(first: int, end: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(first, end, (count, 1), generator=generator)
