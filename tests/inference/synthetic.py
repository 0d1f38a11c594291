"""Small worlds with a known answer: waves on the ring, weather over the British Isles, and a flow on the sphere."""

from __future__ import annotations

import numpy as np
import torch

from emulator.data.arrays import ArrayFields
from emulator.data.forecast import Forecast
from emulator.foundation.time_step import TimeStep
from graphs.harmonics.basis import Degrees
from graphs.harmonics.nodes import Evaluation
from graphs.harmonics.transform import SphericalTransform
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring


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


def sphere_truth(level: int = 2, trajectories: int = 3, times: int = 9) -> ArrayFields:
    """A depth h [m] and a wind u, v [m s-1] of degrees 1 to 5 that drift east, six-hourly: [time, trajectory, node]."""
    mesh, transform, random = icosphere(level), SphericalTransform(5), np.random.default_rng(3)
    kept = torch.from_numpy(Degrees(5).kept)[..., None]
    real, imaginary = (torch.from_numpy(random.normal(size=(6, 6, trajectories))) for _ in range(2))
    imaginary[0] = 0.0
    start = torch.complex(real, imaginary) * kept
    start[0, 0] = 0.0
    degree = torch.from_numpy(Degrees(5).degree).clamp(min=1)[..., None]
    order = torch.from_numpy(Degrees(5).order)[..., None]
    nodes, values = Evaluation(mesh, 5), []
    for time in range(times):
        now = start * torch.exp(-0.08j * order * time)
        u, v = nodes.wind(20.0 * now, 0.0 * now, transform)
        h = 10_000.0 + nodes.field(100.0 * now / degree)
        values.append(torch.stack([h, u, v], dim=-1).numpy())  # [trajectory, node, variable]
    step = TimeStep.parse("6h")
    seconds = 6 * 3600 * np.arange(times)
    units = ("m", "m s-1", "m s-1")
    return ArrayFields(np.stack(values).astype(np.float32), ("h", "u", "v"), units, mesh, step, seconds)


def sphere_forecast(truth: ArrayFields, name: str = "GNN", lag: int = 1, fade: float = 0.0, **other: str) -> Forecast:
    """The truth of some steps before, its wind faded [a step], one case a trajectory."""
    leads = np.arange(1, len(truth.times))
    values = np.moveaxis(truth.values[np.maximum(leads - lag, 0)], 1, 0).astype(
        np.float64
    )  # [case, lead, node, variable]
    values[..., 1:] *= np.exp(-fade * leads)[:, None, None]
    cases = len(values)
    return Forecast(
        name=name,
        values=values[:, None].astype(np.float32),
        variables=truth.variables,
        units=truth.units,
        mesh=truth.mesh,
        time_step=truth.time_step,
        init_time=np.zeros(cases, dtype=np.int64),
        trajectory=np.arange(cases),
        lead_steps=leads,
        attributes=other,
    )
