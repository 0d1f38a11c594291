"""A comparison with known faults: waves on the ring that lag, fade and roughen, several seeds a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emulator.data.arrays import ArrayFields
from emulator.data.forecast import Forecast
from inference.comparison.ranking import rank
from inference.comparison.record import Comparison, Row, Seed, Trial
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth

# label, kind, lag [nodes a step], growth a step, trainable weights
ROWS: tuple[tuple[str, str, float, float, int], ...] = (
    ("GNN", "gnn", 0.004, -0.0005, 48_000),
    ("ridge", "ridge", 0.03, -0.002, 0),
    ("damped anomaly", "damped_anomaly", 0.9, -0.05, 0),
    ("FFNN, whole field", "ffnn", 0.08, 0.0, 70_000),
    ("FFNN, local", "ffnn", 0.02, 0.001, 9_000),
    ("CNN", "cnn", 0.006, 0.0, 49_000),
    ("dilated CNN", "cnn", 0.007, -0.001, 51_000),
    ("ResNet", "resnet", 0.005, -0.001, 47_000),
    ("UNet", "unet", 0.012, 0.001, 52_000),
    ("FNO", "fno", 0.002, 0.0, 330_000),
    ("LSTM, per node", "lstm", 0.03, -0.004, 44_000),
    ("LSTM, whole field", "lstm", 0.15, -0.01, 61_000),
    ("Transformer", "transformer", 0.02, 0.0, 50_000),
    ("graph convolution", "graph_convolution", 0.6, -0.03, 45_000),
    ("interaction network", "interaction_network", 0.01, 0.0, 46_000),
    ("GNN, no noise", "gnn", 0.006, 0.002, 48_000),
    ("Keras CNN", "keras_cnn", 0.006, 0.0, 49_000),
    ("Keras LSTM", "keras_lstm", 0.04, -0.004, 44_000),
    ("their_forecast_2024", "forecast_file", 0.05, 0.0, 0),
    ("persistence", "persistence", 1.0, 0.0, 0),
)
CLOSED = ("ridge", "damped_anomaly", "persistence", "forecast_file")


def ring_comparison(
    labels: Sequence[str] | None = None,
    seeds: int = 3,
    trajectories: int = 6,
    leads: int = 40,
    num_nodes: int = 64,
    rough: float = 0.002,
) -> tuple[Comparison, ArrayFields]:
    """Return a comparison and its truth; one row diverges half-way in a seed, and one failed to train."""
    truth = ring_truth(num_nodes, trajectories, leads + 1)
    rows, members = [], 0
    for label, kind, lag, growth, weights in ROWS:
        if labels is not None and label not in labels:
            continue
        closed = kind in CLOSED
        diverged = label == "UNet" and seeds > 1
        own = []
        for seed in range(1 if closed else seeds):
            random = np.random.default_rng([seed, members])
            factor = 1.0 if closed else float(np.exp(0.3 * random.normal()))
            forecast = ring_forecast(truth, label, lag * factor, growth * factor, leads)
            values = forecast.values + rough * random.normal(size=forecast.values.shape).astype(np.float32)
            lost = diverged and seed == 1
            if lost:
                values[0, :, leads // 2 :] = np.nan
            own.append(
                Seed(
                    label,
                    "diverged" if lost else "loaded" if kind == "forecast_file" else "done",
                    None if closed else seed,
                    "score not finite by update 900" if lost else "",
                    run=None if closed else {"seconds": 300.0 + 10 * weights**0.5 + seed, "update": 900},
                    forecast=replace(forecast, values=values, attributes={} if closed else {"seed": str(seed)}),
                    parameters={"trainable": weights, "fixed": 12_000 if kind == "ridge" else 0},
                    inference_seconds=None if kind == "forecast_file" else 1e-5 * (1 + weights / 900),
                )
            )
            members += 1
        rows.append(
            Row(
                label,
                kind,
                tuple(own),
                {} if closed else {"training": {"learning_rate": 1e-3, "batch_size": 32}},
                updates=None if closed else 2_000,
                history=None if kind == "forecast_file" else 1,
                regridding="bilinear from their grid of 1°" if kind == "forecast_file" else "",
                differences=("history of 2 instead of 1",) if kind == "lstm" else (),
                settings={} if closed else {"training.learning_rate": 1e-3},
            )
        )
    rows.append(Row("plain RNN & more_%", "plugin", (Seed("plain RNN & more_%", "failed", 0, "out of memory"),)))
    forecasts = [seed.forecast for row in rows for seed in row.seeds if seed.forecast is not None]
    baselines = [row.label for row in rows if row.label == "persistence"]
    verification = verify(forecasts, truth, climatology=np.zeros(1), baselines=baselines)
    trials = tuple(
        Trial(row.label, {"training.learning_rate": rate}, 500, 0.1 / (1 + place), 12.0, "done", chosen=place == 1)
        for row in rows
        if row.settings
        for place, rate in enumerate((3e-3, 1e-3))
    )
    notes = ("LSTM: history of 2, others 1",)
    return rank("ring", rows, verification, "nrmse", trials=trials, notes=notes), truth


def pair_of(truth: ArrayFields, *forecasts: Forecast) -> Comparison:
    """Return the comparison of forecasts without seeds, each a row of its name."""
    rows = [Row(each.name, each.name, (Seed(each.name, "done", forecast=each),)) for each in forecasts]
    return rank("pair", rows, verify(list(forecasts), truth), "nrmse")
