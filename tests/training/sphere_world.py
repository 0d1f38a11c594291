"""A small sphere: hourly heights and winds, a sea's temperature with land, rain, sunshine and a static field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from emulator.data.arrays import ArrayFields
from emulator.data.datasets.create import create_dataset
from emulator.features.departures import DeparturesConfig
from emulator.foundation.time_step import TimeStep, to_datetime
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from graphs.meshes.icosphere import icosphere
from training.experiment import DataConfig, DataPart, ExperimentConfig, TaskConfig, TrainingConfig, ValidationConfig
from training.preparation.prepared import PreparedData

HOUR = TimeStep.parse("1h")
NAMES = ("h", "u", "v", "sst", "tp", "orography")
SMALL = ProcessorConfig(num_layers=2, latent_size=16, hidden_size=16)
TASK = TaskConfig(
    prognostic=("h", "u", "v", "sst"),
    diagnostic=("tp",),
    forcing=("insolation",),
    static=("orography", "sin_latitude"),
    history=2,
    partners={"u": "v", "v": "u"},
    bounds={"h": (0.0, None), "tp": (0.0, None)},
    conserved=("h", "sst"),
)


def sphere_fields(times: int = 24, seed: int = 0, level: int = 2) -> ArrayFields:
    """Waves that move eastward with some noise; land is where x is above 0.6."""
    rng, mesh = np.random.default_rng(seed), icosphere(level)
    x, y, z = mesh.positions.T
    angle = 0.2 * np.arange(times)[:, None] + rng.uniform(0, 6)
    wave = np.cos(angle) * x + np.sin(angle) * y
    noise = 0.02 * rng.standard_normal((4, times, mesh.num_nodes))
    sea = np.where(x > 0.6, np.nan, 285.0 + 3.0 * wave * z + noise[2])
    fields = 10.0 + wave + noise[0], np.sin(angle) * z - wave, wave * z + noise[1], sea, np.abs(wave + noise[3])
    values = np.stack([*fields, np.broadcast_to(x * y, wave.shape)], axis=-1)[:, None].astype(np.float32)
    start = int(np.datetime64("2020-03-01" if seed == 0 else "2021-03-01", "s").astype(np.int64))
    units = ("m", "m s-1", "m s-1", "K", "m", "m")
    return ArrayFields(values, NAMES, units, mesh, HOUR, start + 3600 * np.arange(times), "member")


class SphereData(PreparedData):
    """The same in memory: training and validation."""

    def fields(self, split: DataPart, keep_in_memory: bool = True) -> Any:
        return sphere_fields(seed=int(split.source))  # type: ignore[arg-type]


def sphere_experiment(
    folder: Path | None = None,
    name: str = "run",
    training: dict[str, Any] | None = None,
    task: TaskConfig = TASK,
    **emulator: Any,
) -> ExperimentConfig:
    """An experiment on it: of `SphereData`, or of datasets in a folder."""
    sources = ["0", "1"]
    if folder is not None:
        sources = [str(write_sphere(folder / f"{seed}.zarr", seed)) for seed in (0, 1)]
    return ExperimentConfig(
        name=name,
        data=DataConfig(*map(DataPart, sources)),
        task=task,
        emulator=GNNConfig(**{"processor": SMALL, "departures": DeparturesConfig("none", recent=1), **emulator}),
        training=TrainingConfig(
            **{"updates": 6, "batch_size": 2, "warm_up": 2, "unroll": 2, "accelerator": "cpu", **(training or {})}
        ),
        validation=ValidationConfig(every=3, steps=3, cases=3),
        output=str(folder or "runs"),
    )


def write_sphere(path: Path, seed: int) -> Path:
    """The fields of a seed as a dataset, where they are not there yet."""
    if path.exists():
        return path
    fields = sphere_fields(seed=seed)
    variables = {
        name: (("time", "number", "cell"), fields.values[..., column], {"units": fields.units[column]})
        for column, name in enumerate(NAMES)
    }
    dataset = xr.Dataset(variables, {"time": to_datetime(fields.times)})
    create_dataset(path, dataset, mesh=fields.mesh, time_step=HOUR, ensemble_axis="member", attributes={})
    return path
