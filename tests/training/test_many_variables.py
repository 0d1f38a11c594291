"""Ninety variables, named by a few patterns, are learned and forecast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import default_collate

from emulator.data.arrays import ArrayFields
from emulator.data.datasets.create import create_dataset
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep, to_datetime
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.state import predicted_fields
from emulator.task import names_of
from graphs.meshes.latlon import latlon
from meshcast.commands.configs import shipped_configs
from training.experiment import DataPart, ExperimentConfig
from training.preparation.first_guess import initial_network
from training.preparation.prepared import PreparedData, prepare, windows_of
from training.runs.fit import fit

LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
SURFACE = ("10u", "10v", "2t", "2d", "msl", "sp", "skt", "tcw", "tcc")
RAIN = ("tp", "cp", "sf")
STATIC = ("lsm", "z", "sdor", "slor")
CONFIG = shipped_configs()["era5-ninety"]
SMALL = [
    "emulator.graph.mesh.level=1",
    "emulator.processor={kind: kernel, num_layers: 1, latent_size: 16, hidden_size: 16}",
    "training.updates=6",
    "training.warm_up=2",
    "training.batch_size=2",
    "training.curriculum=[[0.5, 1], [0.5, 2]]",
    "training.precision=32-true",
    "validation={every: 3, steps: 2, cases: 2}",
    "training.accelerator=cpu",
]


def era5_like(days: int = 7) -> ArrayFields:
    """Thirteen levels of six variables, sixteen fields at the surface: waves that move east, rain at a third."""
    mesh = latlon(np.linspace(75, -75, 6), np.arange(0.0, 360.0, 30.0))
    times = np.datetime64("2019-12-27", "s").astype(np.int64) + 6 * 3600 * np.arange(4 * days)
    rng, phase = np.random.default_rng(0), 2 * np.pi * np.arange(len(times))[:, None] / 20
    longitudes, latitudes = np.radians(mesh.longitudes), np.radians(mesh.latitudes)

    def waves() -> np.ndarray:
        wave = np.cos(rng.integers(1, 4) * longitudes - phase + rng.uniform(0, 6)) * np.cos(latitudes)
        return wave + 0.1 * rng.normal(size=wave.shape)

    fields = {f"{name}_{level}": waves() for name in "tuvwz" for level in LEVELS}
    fields |= {f"q_{level}": np.exp(waves()) * 1e-3 for level in LEVELS}
    fields |= {name: waves() for name in SURFACE} | {"tcc": np.clip(waves(), 0, 1)}
    fields |= {name: np.clip(waves() - 0.3, 0, None) ** 2 * 1e-2 for name in RAIN}
    fields |= {name: np.broadcast_to(rng.normal(size=mesh.num_nodes), (len(times), mesh.num_nodes)) for name in STATIC}
    names = tuple(sorted(fields))
    values = np.stack([fields[name] for name in names], axis=-1)[:, None].astype(np.float32)
    step = TimeStep.parse("6h")
    return ArrayFields(values, names, ("1",) * len(names), mesh, step, times, "member", source="era5")


class Era5(PreparedData):
    """The fields in memory in place of every split: five days to train on, the last two to validate."""

    def fields(self, split: DataPart, keep_in_memory: bool = True) -> ArrayFields:
        fields, five_days = era5_like(), slice(0, 20)
        part = five_days if "start" not in split.source else slice(five_days.stop, None)
        return replace(fields, values=fields.values[part], times=fields.times[part])


def small() -> ExperimentConfig:
    config = load(ExperimentConfig, CONFIG, SMALL)
    return replace(config, data=replace(config.data, test=None))


def test_the_shipped_configuration_says_ninety_variables_in_few_lines() -> None:
    assert len(CONFIG.read_text(encoding="utf-8").splitlines()) <= 60


def test_ninety_variables_named_by_patterns_are_learned() -> None:
    prepared = Era5().prepare(small())
    task, (windows, _) = prepared.task, windows_of(prepared)
    assert len(task.predicted) == 90 and task.prognostic[:3] == ("z_50", "z_100", "z_150")
    assert {variable.name: variable.partner for variable in task.variables}["u_850"] == "v_850"
    emulator, _ = initial_network(prepared, windows)
    batch = default_collate([windows[place] for place in (0, 7)])
    optimiser = torch.optim.Adam(emulator.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        state, forcings = windows.start_of(batch)
        (step,) = rollout(emulator, state, forcings, 1)
        truth = batch["values"][:, None, task.history]
        scale = emulator.inputs.std * emulator.correction_std
        predicted, seen = emulator.inputs.compared(step, truth)
        loss = ((predicted - seen) / scale).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all() and losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_ninety_variables_are_trained_from_a_dataset_and_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    fields = era5_like()
    arrays = {name: (("time", "number", "cell"), fields.values[..., k]) for k, name in enumerate(fields.variables)}
    dataset = xr.Dataset(arrays, coords={"time": to_datetime(fields.times)})
    written = tmp_path / "data/era5-ninety.zarr"
    create_dataset(
        written, dataset, mesh=fields.mesh, time_step=fields.time_step, ensemble_axis="member", attributes={}
    )
    config = small()
    trained = fit(config, progress=False)
    emulator = trained.emulator
    assert isinstance(emulator, NeuralEmulator) and np.isfinite(trained.metadata["validation_score"])
    _, starts = windows_of(prepare(config))
    state, forcings = starts.start_of({name: value[None] for name, value in starts[0].items()})
    *_, step = rollout(emulator, state, forcings, 2)
    names, forecast = names_of(emulator.task.predicted), predicted_fields(step)[0, 0].numpy()
    assert np.isfinite(forecast).all()
    assert (forecast[:, [names.index(name) for name in (*RAIN, *(f"q_{level}" for level in LEVELS))]] >= 0).all()
