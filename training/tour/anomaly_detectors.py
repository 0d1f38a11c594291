"""Detectors of anomalies in readings of a sensor on a turning machine: an LSTM autoencoder, and tuned baselines.

Each scans the errors of a reconstruction over stretches of every length. A normal sequence is one wave form,
phase-locked to its second harmonic,

    s(t) = (sin θ + 0.4 sin(2θ + 1)) / 1.25,   θ = 2π f t + φ,

of amplitude near one, whose frequency f and phase φ differ from sequence to sequence, and noise. So normal sequences
lie on a curved surface of two dimensions; the plane that holds it has about fourteen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from graphs.errors import MeshcastError
from inference.detectors.plausibility import SequenceAutoencoder
from training.optimisation.descent import DescentConfig, Losses, descend, seeded

Array = NDArray[np.float64]
Errors = Callable[[Array], Array]  # of sequences, the same shape
Detector = Callable[[Array], Array]  # how unlike normal sequences each is, [sequence]
Place = Literal["before", "around"]
Scale = Literal["moving", "fixed"]

ANOMALIES = ("spike", "drift", "frequency change", "flat line")
LENGTH = 48  # samples of a sequence
CYCLES = 2.25, 3.75  # least and most turns in one
NOISE = 0.1  # its standard deviation
DESCENT = DescentConfig(epochs=25, batch_size=64, learning_rate=1e-2)
NUM_TRAINING, NUM_CALIBRATION = 2560, 1000
WINDOWS = (2, 4, 6, 8, 12, 16, 24, 32)
COMPONENTS = tuple(range(2, 31, 2))
UNSEEN, TUNING = 10_000, 20_000  # seeds from here on belong to the test, and to tuning the baselines


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


def scan(squares: Array) -> Array:
    """Return the logarithm of the largest mean of squares over stretches of 1, 2, 4, ... samples, [sequence, stretch].

    squares: [sequence, time]. A fault of any duration is loud in the stretches about as long as it.
    """
    times = squares.shape[1]
    sums = np.cumsum(np.pad(squares, ((0, 0), (1, 0))), axis=1)
    lengths = [2**power for power in range(times.bit_length()) if 2**power <= times]
    means = [((sums[:, length:] - sums[:, :-length]) / length).max(axis=1) for length in lengths]
    return np.log(np.maximum(np.stack(means, axis=1), 1e-30))


def calibrated(errors: Errors, normal: Array) -> Detector:
    """Return by how many standard deviations a sequence's errors over any stretch exceed those of normal sequences.

    normal: [sequence, time] without faults, which fitted nothing.
    """
    found = errors(normal)
    deviation = np.sqrt(np.square(found).mean(axis=0)) + 1e-12
    scans = scan(np.square(found / deviation))
    mean, spread = scans.mean(axis=0), scans.std(axis=0) + 1e-12
    return lambda sequences: ((scan(np.square(errors(sequences) / deviation)) - mean) / spread).max(axis=1)


@dataclass(frozen=True)
class FittedAutoencoder:
    """An autoencoder of sensor sequences, the detector built on it, and its history (mean squared errors)."""

    network: SequenceAutoencoder
    detector: Detector
    losses: Losses


def fit_autoencoder(seed: int = 0, descent: DescentConfig = DESCENT) -> FittedAutoencoder:
    """Train on normal sequences alone, with noise drawn anew each time one is shown; the target has no noise.

    So the code learns the wave form, not the noise (Vincent et al. 2008, doi:10.1145/1390156.1390294). Calibrated on
    normal sequences as read, which trained nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    clean = normal_sequences(NUM_TRAINING, generator).unsqueeze(-1)
    unseen = normal_sequences(NUM_CALIBRATION, generator)
    as_read = noisy(unseen, generator)
    network = seeded(SequenceAutoencoder, seed)
    test = (as_read.unsqueeze(-1), unseen.unsqueeze(-1))
    losses = descend(network, nn.functional.mse_loss, (clean, clean), descent, test, noisy)

    def errors(sequences: Array) -> Array:
        return sequences - _reconstructed(network, sequences)

    return FittedAutoencoder(network, calibrated(errors, as_read.double().numpy()), losses)


def tuned_z_score(seed: int = 0) -> tuple[Detector, str]:
    """Return the moving z-score whose AUROC over all anomalies is best on sequences of tuning, and what it is."""
    settings = {
        f"window of {window} samples {place}, {scale} scale": moving_z_scores(window, place, scale)
        for window in WINDOWS
        for place in get_args(Place)
        for scale in get_args(Scale)
    }
    return _best(settings, seed)


def tuned_pca(seed: int = 0) -> tuple[Detector, str]:
    """Return PCA reconstruction with the number of components that is best on sequences of tuning, and what it is.

    A kindness: it sees anomalies when it is tuned, the autoencoder never.
    """
    training = readings(NUM_TRAINING, seed)
    return _best({f"{count} components": principal_components(training, count) for count in COMPONENTS}, seed)


def moving_z_scores(window: int, place: Place, scale: Scale) -> Errors:
    """Return each sample less the mean of its neighbours, over their standard deviation; zero where they are few.

    window: neighbours, even. place: those before the sample, or as many on either side. scale: the window's standard
    deviation, or one for all samples, which the calibration gives.
    """
    if window < 2 or window % 2:
        raise MeshcastError(f"A moving z-score needs an even window of at least 2 samples, not {window}.")
    sample = window if place == "before" else window // 2

    def errors(sequences: Array) -> Array:
        if window >= sequences.shape[1]:
            raise MeshcastError(
                f"A moving z-score over {window} samples needs longer sequences than the {sequences.shape[1]} given."
            )
        near = np.lib.stride_tricks.sliding_window_view(sequences, window + 1, axis=1)  # [sequence, place, neighbour]
        others = np.delete(near, sample, axis=-1)
        z = near[..., sample] - others.mean(axis=-1)
        if scale == "moving":
            z = z / (others.std(axis=-1, ddof=1) + 1e-12)
        return np.pad(z, ((0, 0), (sample, window - sample)))

    return errors


def principal_components(training: Array, num_components: int) -> Errors:
    """Return what the leading principal components of training sequences [sequence, time] leave."""
    mean = training.mean(axis=0)
    components = np.linalg.svd(training - mean, full_matrices=False)[2][:num_components]

    def errors(sequences: Array) -> Array:
        departure = sequences - mean
        return departure - departure @ components.T @ components

    return errors


def readings(count: int, seed: int) -> Array:
    """Return normal sequences as read, [sequence, time]."""
    generator = torch.Generator().manual_seed(seed)
    return noisy(normal_sequences(count, generator), generator).double().numpy()


def faults(count: int, seed: int) -> dict[str, Array]:
    """Return sequences [sequence, time] of each kind of anomaly."""
    generator = torch.Generator().manual_seed(seed)
    return {kind: anomalous_sequences(kind, count, generator).double().numpy() for kind in ANOMALIES}


def areas(detector: Detector, count: int = 1000, seed: int = 0, first_seed: int = UNSEEN) -> dict[str, float]:
    """Return AUROC on unseen sequences: of each kind of anomaly, and of all pooled."""
    usual = detector(readings(2 * count, first_seed + seed))
    scores = {kind: detector(sequences) for kind, sequences in faults(count, first_seed + 1 + seed).items()}
    scores["pooled"] = np.concatenate(list(scores.values()))
    return {kind: auroc(usual, unusual) for kind, unusual in scores.items()}


def table(detectors: Mapping[str, Detector]) -> pd.DataFrame:
    """Return AUROC of several detectors, a row each, by kind of anomaly and pooled, to three digits."""
    return pd.DataFrame({name: areas(detector) for name, detector in detectors.items()}).T.round(3)


def examples(fitted: FittedAutoencoder) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return an unseen sequence [time] of each kind, two normal ones first, and what the autoencoder returns."""
    normal = readings(2, UNSEEN)
    shown = {"normal": normal[0], "normal, another speed": normal[1]}
    shown |= {kind: sequences[0] for kind, sequences in faults(1, UNSEEN + 1).items()}
    returned = _reconstructed(fitted.network, np.stack(list(shown.values())))
    return shown, dict(zip(shown, returned, strict=True))


def auroc(normal: Array, anomalous: Array) -> float:
    """Return the probability that an anomalous sequence scores higher than a normal one: the area under the ROC curve.

    By Mann and Whitney's U; ties count one half (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).
    """
    return float(mannwhitneyu(anomalous, normal, method="asymptotic").statistic / (len(normal) * len(anomalous)))


@torch.no_grad()
def _reconstructed(network: SequenceAutoencoder, sequences: Array) -> Array:
    given = torch.as_tensor(sequences, dtype=torch.float32).unsqueeze(-1)
    return network(given).squeeze(-1).double().numpy()


def _best(settings: Mapping[str, Errors], seed: int) -> tuple[Detector, str]:
    calibration = readings(NUM_CALIBRATION, seed + 1)
    detectors = {name: calibrated(errors, calibration) for name, errors in settings.items()}
    best = max(detectors, key=lambda name: areas(detectors[name], 500, seed, TUNING)["pooled"])
    return detectors[best], best
