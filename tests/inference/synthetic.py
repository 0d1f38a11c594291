"""Small worlds with a known answer: a wave on the ring, and a field over the British Isles."""

from __future__ import annotations

import numpy as np

from emulator.data.arrays import ArrayFields
from emulator.data.forecast import Forecast
from emulator.time_step import TimeStep
from graphs.latlon import latlon
from graphs.ring import ring


def ring_truth(num_nodes: int = 64, trajectories: int = 6, times: int = 41) -> ArrayFields:
    """Waves 1 to 3 advected one node a step: [time, trajectory, node, u]."""
    random = np.random.default_rng(1)
    x = 2 * np.pi * np.arange(num_nodes) / num_nodes
    start = sum(
        random.normal(size=(trajectories, 1)) * np.cos(k * x + random.uniform(0, 6, (trajectories, 1)))
        for k in (1, 2, 3)
    )
    values = np.stack([np.roll(start, step, axis=1) for step in range(times)])[..., None]
    step = TimeStep(1, "second", 0.1, "")
    return ArrayFields(values.astype(np.float32), ("u",), ("1",), ring(num_nodes), step, np.arange(times))


def ring_forecast(
    truth: ArrayFields, name: str = "GNN", lag: float = 0.05, growth: float = 0.0, leads: int = 40, members: int = 1
) -> Forecast:
    """The truth's start moved on with a lag [nodes a step] and a growth rate a step, one case a trajectory."""
    start = truth.values[0, :, :, 0].astype(np.float64)
    steps = np.arange(1, leads + 1)
    wave = np.fft.rfft(start, axis=1)[:, None, None]  # [case, member, lead, wavenumber]
    k = np.arange(wave.shape[-1])
    lags = lag * (1 + 0.5 * np.arange(members))[:, None, None]
    turn = np.exp(-2j * np.pi * k * (1 - lags) * steps[:, None] / start.shape[1]) * (1 + growth) ** steps[:, None]
    values = np.fft.irfft(wave * turn, start.shape[1], axis=-1)[..., None]
    cases = start.shape[0]
    return Forecast(
        name=name,
        values=values.astype(np.float32),
        variables=("u",),
        units=("1",),
        mesh=truth.mesh,
        time_step=truth.time_step,
        init_time=np.zeros(cases, dtype=np.int64),
        trajectory=np.arange(cases),
        lead_steps=steps,
        attributes={"seed": "3"},
    )


def isles_truth(days: int = 3, rows: int = 33, columns: int = 49) -> ArrayFields:
    """Hourly 2 m temperature [K] with a gradient, a diurnal cycle and drifting weather."""
    random = np.random.default_rng(2)
    mesh = latlon(np.linspace(58, 50, rows), np.linspace(-10, 2, columns))
    hour = np.arange(24 * days + 1)
    lat, lon = mesh.latitudes, (mesh.longitudes + 180) % 360 - 180
    field = 282.0 - 0.6 * (lat - 54) + 2.0 * np.cos(2 * np.pi * (hour[:, None] - 14) / 24)
    for _ in range(8):
        k, m, phase = random.normal(size=2) * 0.8, random.normal() * 0.1, random.uniform(0, 6)
        field = field + random.normal() * np.cos(k[0] * lat + k[1] * lon + m * hour[:, None] + phase)
    return ArrayFields(
        values=field[:, None, :, None].astype(np.float32),
        variables=("2t",),
        units=("K",),
        mesh=mesh,
        time_step=TimeStep.parse("1h"),
        times=hour * 3600 + np.datetime64("2019-03-25T00:00:00").astype("datetime64[s]").astype(np.int64),
        ensemble_axis="member",
        attributes={
            "title": "synthetic weather",
            "licence": "CC0-1.0",
            "attribution": "Made for tests.",
        },
    )


def isles_forecast(
    truth: ArrayFields, name: str = "GNN", error: float = 0.2, leads: int = 12, every: int = 3, seed: int = 0
) -> Forecast:
    """The truth plus smooth errors [K] that grow with the square root of the lead time, from every third hour."""
    random = np.random.default_rng(seed)
    mesh = truth.mesh
    starts = np.arange(0, len(truth.times) - leads, every)
    lead = np.arange(1, leads + 1)
    values = truth.values[starts[:, None] + lead, 0][:, None].astype(np.float64)
    lat, lon = mesh.latitudes, (mesh.longitudes + 180) % 360 - 180
    for _ in range(4):
        a, k, phase = random.normal(size=(len(starts), 1, 1)), random.normal(size=2) * 0.7, random.uniform(0, 6)
        pattern = np.cos(k[0] * lat + k[1] * lon + phase + 0.1 * lead[:, None])
        values += (error * np.sqrt(lead)[:, None] * a * pattern)[:, None, :, :, None]
    return Forecast(
        name=name,
        values=values.astype(np.float32),
        variables=("2t",),
        units=("K",),
        mesh=mesh,
        time_step=truth.time_step,
        init_time=truth.times[starts],
        trajectory=np.full(len(starts), -1),
        lead_steps=lead,
        attributes={"seed": str(seed), "licence": "CC0-1.0", "attribution": "Made for tests."},
    )
