"""What do transforms of rain do to its forecasts? Errors, wet area and critical success index, as JSON.

    python benchmarks/rain_transforms.py --data ../shared/data > rain.json

Two worlds, a graph network each with no transform, log1p, sqrt and quantile, of the same size, updates and seeds:

- showers: made here, six-hourly humidity of waves that move around a ring of 64 nodes and are stirred at random, and
  rain that falls from humidity above a threshold with a random efficiency, dry at two thirds of all places and times;
- months: IPSL-CM6A-LR's monthly rain and temperature under ssp585 (`--data`), trained on 2015 to 2055, chosen by 2056
  to 2060, tested on 2061 to 2100.

A place is wet from a millimetre a day on (of showers from .001 on). Scores are of the test part, by lead time, each a
mean over the seeds with its standard deviation; `validation` is what a choice between transforms would see. Also the
share of dry places of the forecast and the truth, and of climatology and persistence the same scores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader

from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.build import fit_closed_form
from emulator.data.convert import convert
from emulator.data.datasets.create import create_dataset
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep
from emulator.protocol import Emulator, rollout
from graphs.meshes.ring import ring
from inference.scores.metrics import case_scores
from inference.scores.wet_area import WET_RATE
from training.experiment import ExperimentConfig
from training.preparation.prepared import Prepared, prepare, windows_of
from training.preparation.windows import Windows
from training.runs.fit import fit

TRANSFORMS: dict[str, Any] = {"none": None, "log1p": "log1p", "sqrt": "sqrt", "quantile": "quantile"}
SCORES = ("rmse", "mae", "bias", "wet_area_bias", "csi")
SHOWERS: dict[str, Any] = {
    "name": "showers",
    "data": {
        "train": {"source": {"dataset": "showers.zarr", "end": "2002-12-31"}},
        "validation": {"source": {"dataset": "showers.zarr", "start": "2003-01-01", "end": "2003-06-30"}},
        "test": {"source": {"dataset": "showers.zarr", "start": "2003-07-01"}},
    },
    "task": {"prognostic": ["q", "tp"], "bounds": {"tp": [0, None]}},
    "emulator": {"kind": "gnn", "processor": {"kind": "kernel", "num_layers": 3, "latent_size": 32, "hidden_size": 32}},
    "training": {"batch_size": 16, "learning_rate": 2.0e-3, "warm_up": 50, "accelerator": "cpu"},
    "validation": {"every": 200, "steps": 4, "cases": 60},
}
MONTHS: dict[str, Any] = {
    "name": "months",
    "data": {
        "train": {"source": {"dataset": "months.zarr", "end": "2055"}},
        "validation": {"source": {"dataset": "months.zarr", "start": "2055-12", "end": "2060"}},
        "test": {"source": {"dataset": "months.zarr", "start": "2060-12"}},
    },
    "task": {
        "prognostic": ["tas", "pr"],
        "forcing": ["cos_julian_day", "sin_julian_day"],
        "static": ["sin_latitude", "cos_latitude"],
        "bounds": {"pr": [0, None]},
    },
    "emulator": {
        "kind": "gnn",
        "graph": {"mesh": {"kind": "icosphere", "level": 2}, "processor": {"kind": "multi_mesh"}},
        "processor": {"kind": "kernel", "num_layers": 3, "latent_size": 32, "hidden_size": 32},
        "node_statistics": True,
    },
    "training": {"batch_size": 16, "learning_rate": 2.0e-3, "warm_up": 50, "weight_decay": 0.1, "accelerator": "cpu"},
    "validation": {"every": 100, "steps": 3, "cases": 50},
}


def write_showers(path: Path, num_nodes: int = 64, days: int = 1460) -> None:
    """Waves of humidity that move at speeds of their own and are stirred, and rain where there is much of it."""
    rng, number = np.random.default_rng(0), np.arange(1, 9)
    amplitude = np.zeros(8, dtype=complex)
    turn, memory = np.exp(-2j * np.pi * (0.02 + 0.004 * number)), 0.95
    humidity = []
    for _ in range(4 * days + 200):
        stirred = (rng.normal(size=8) + 1j * rng.normal(size=8)) / number**0.5
        amplitude = memory * turn * amplitude + np.sqrt(1 - memory**2) * stirred
        spectrum = np.zeros(num_nodes // 2 + 1, dtype=complex)
        spectrum[number] = amplitude * num_nodes / 4
        humidity.append(np.fft.irfft(spectrum, num_nodes))
    q = np.array(humidity[200:])
    q /= q.std()
    rain = 2e-3 * np.clip(q - 0.4, 0, None) ** 1.5 * rng.gamma(1.5, 1 / 1.5, q.shape)
    fields = {"q": (q, "1"), "tp": (rain, "m")}
    arrays = {
        name: (("time", "number", "cell"), values[:, None].astype(np.float32), {"units": unit})
        for name, (values, unit) in fields.items()
    }
    times = np.datetime64("2000-01-01", "s") + np.arange(len(q)) * np.timedelta64(6, "h")
    dataset = xr.Dataset(arrays, coords={"time": times})
    step = TimeStep.parse("6h")
    create_dataset(path, dataset, mesh=ring(num_nodes), time_step=step, ensemble_axis="member", attributes={})


def scored(emulator: Emulator, prepared: Prepared, starts: Windows, wet: float) -> dict[str, list[float]]:
    """Return the scores of rain by lead time, and the share of dry places of forecast and truth."""
    task, column = prepared.task, 1
    areas = torch.from_numpy(emulator.mesh.areas)
    threshold = torch.tensor([torch.nan, wet], dtype=torch.float64)
    sums: dict[str, Any] = {}
    cases = 0
    for batch in DataLoader(starts, batch_size=64, generator=torch.Generator()):
        state, _ = starts.start_of(batch)
        with torch.no_grad():
            rolled = rollout(emulator, state, starts.forcings, starts.steps)
            forecast = torch.stack([following.now for following, _ in rolled], dim=2)
        truth = batch["values"][:, task.history :]
        found = case_scores(forecast, truth, areas, wet=threshold)
        found["dry"], found["truth_dry"] = ((fields <= 0).double().mean(-2) for fields in (forecast[:, 0], truth))
        for name, values in found.items():
            sums[name] = sums.get(name, 0) + values[..., column].sum(0).numpy()
        cases += len(truth)
    means = {name: total / cases for name, total in sums.items()}
    means["rmse"] = np.sqrt(means["rmse"])
    means["wet_area_bias"] = means["wet_area_bias"] / means["truth_wet_area"]
    means["csi"] = means["csi"] / means["wet_in_either"]
    return {name: means[name].tolist() for name in (*SCORES, "dry", "truth_dry")}


def world(config: dict[str, Any], folder: Path, wet: float, seeds: Sequence[int], updates: int) -> dict[str, Any]:
    """Return the scores of every transform in one world."""
    rain = config["task"]["prognostic"][1]
    found: dict[str, Any] = {}
    for name, transform in TRANSFORMS.items():
        runs, validations = [], []
        for seed in seeds:
            content = {**config, "name": f"{config['name']}-{name}-{seed}", "output": str(folder / "runs")}
            content["task"] = config["task"] | ({} if transform is None else {"transforms": {rain: transform}})
            content["training"] = config["training"] | {"seed": seed, "updates": updates}
            experiment = load(ExperimentConfig, content)
            trained = fit(experiment, progress=False)
            runs.append(of_test(trained.emulator, experiment, wet))
            validations.append(trained.metadata["validation_score"])
            line = {"transform": name, "seed": seed, "validation": validations[-1], **runs[-1]}
            print(json.dumps(line), file=sys.stderr, flush=True)
        found[name] = {key: spread([run[key] for run in runs]) for key in runs[0]}
        found[name]["validation"] = spread(validations)
    experiment = load(ExperimentConfig, config)
    prepared = prepare(experiment)
    for name, closed in {"climatology": ClimatologyConfig(period="month"), "persistence": PersistenceConfig()}.items():
        baseline = fit_closed_form(closed, prepared.task, prepared.part)
        found[name] = of_test(baseline, experiment, wet)
    return found


def of_test(emulator: Emulator, experiment: ExperimentConfig, wet: float) -> dict[str, list[float]]:
    """Return the scores over the test part."""
    assert experiment.data.test is not None
    moved = replace(experiment, data=replace(experiment.data, validation=experiment.data.test, test=None))
    moved = replace(moved, validation=replace(moved.validation, cases=400))
    prepared = prepare(moved)
    return scored(emulator, prepared, windows_of(prepared)[1], wet)


def spread(values: Sequence[Any]) -> dict[str, Any]:
    array = np.asarray(values, dtype=np.float64)
    return {"mean": array.mean(0).tolist(), "std": array.std(0, ddof=min(1, len(array) - 1)).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of IPSL-CM6A-LR's files; without it, showers alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--worlds", nargs="+", default=["showers", "months"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worlds = []
        if "showers" in options.worlds:
            write_showers(folder / "showers.zarr")
            worlds.append((SHOWERS, 1e-3))
        if "months" in options.worlds and options.data is not None:
            files = [str(options.data / f"{v}_mon_IPSL-CM6A-LR_ssp585_r1i1p1f1_g025.nc") for v in ("pr", "tas")]
            convert(files, folder / "months.zarr", rename={"pr": "pr", "tas": "tas"})
            worlds.append((MONTHS, WET_RATE))
        for config, wet in worlds:
            for part in config["data"].values():
                part["source"]["dataset"] = str(folder / Path(part["source"]["dataset"]).name)
            found[config["name"]] = world(config, folder, wet, options.seeds, options.updates)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
