"""Detectors of anomalies in sensor sequences: an LSTM autoencoder, and baselines at the best of their settings.

Each scans the errors of a reconstruction over stretches of every length.
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
from torch import nn

from graphs.errors import MeshcastError
from inference.detectors.sequence_autoencoder import SequenceAutoencoder
from training.optimisation.descent import DescentConfig, Losses, descend, seeded
from training.tour.sensor_sequences import ANOMALIES, anomalous_sequences, noisy, normal_sequences

Array = NDArray[np.float64]
Errors = Callable[[Array], Array]  # of sequences, the same shape
Detector = Callable[[Array], Array]  # how unlike normal sequences each is, [sequence]
Place = Literal["before", "around"]
Scale = Literal["moving", "fixed"]

DESCENT = DescentConfig(epochs=25, batch_size=64, learning_rate=1e-2)
NUM_TRAINING, NUM_CALIBRATION = 2560, 1000
WINDOWS = (2, 4, 6, 8, 12, 16, 24, 32)
COMPONENTS = tuple(range(2, 31, 2))
UNSEEN, TUNING = 10_000, 20_000  # seeds from here on belong to the test, and to tuning the baselines


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


def areas(detector: Detector, count: int = 1000, seed: int = 0) -> dict[str, float]:
    """Return AUROC on unseen sequences: of each kind of anomaly, and of all pooled."""
    return _areas(detector, readings(2 * count, UNSEEN + seed), faults(count, UNSEEN + 1 + seed))


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


def _areas(detector: Detector, normal: Array, anomalous: Mapping[str, Array]) -> dict[str, float]:
    usual = detector(normal)
    scores = {kind: detector(sequences) for kind, sequences in anomalous.items()}
    scores["pooled"] = np.concatenate(list(scores.values()))
    return {kind: auroc(usual, unusual) for kind, unusual in scores.items()}


def _best(settings: Mapping[str, Errors], seed: int) -> tuple[Detector, str]:
    calibration = readings(NUM_CALIBRATION, seed + 1)
    normal, anomalous = readings(1000, TUNING + seed), faults(500, TUNING + 1 + seed)
    detectors = {name: calibrated(errors, calibration) for name, errors in settings.items()}
    best = max(detectors, key=lambda name: _areas(detectors[name], normal, anomalous)["pooled"])
    return detectors[best], best
