"""Time and memory of `meshcast verify`: 16 ten-day hourly forecasts of four variables on 8,192 nodes.

python benchmarks/verification.py FOLDER writes truth, training data and forecasts of drifting waves into a folder, half
a gigabyte, and prints the command to measure, such as with /usr/bin/time -v.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from emulator.data.datasets.create import create_dataset
from emulator.data.forecast_netcdf import ForecastHeading, write_netcdf
from emulator.foundation.time_step import TimeStep, to_datetime
from graphs.harmonics.basis import Degrees
from graphs.harmonics.nodes import Evaluation
from graphs.meshes.gaussian import gaussian

NAMES, UNITS = ("u", "v", "t", "z"), ("m s-1", "m s-1", "K", "m2 s-2")
MEAN, STD = np.float32([5, 0, 280, 55_000]), np.float32([8, 8, 10, 800])
CASES, LEADS, DEGREE, HOUR = 16, 240, 10, TimeStep.parse("1h")
MESH = gaussian(32)


def weather(hours: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Return drifting waves [hour, node, variable] with noise."""
    random, degrees = np.random.default_rng(seed), np.arange(DEGREE + 1)
    fields = np.empty((len(hours), MESH.num_nodes, len(NAMES)), np.float32)
    kept, nodes = torch.from_numpy(Degrees(DEGREE).kept)[..., None], Evaluation(MESH, DEGREE)
    for column in range(len(NAMES)):
        real, imaginary = (torch.from_numpy(random.normal(size=(DEGREE + 1, DEGREE + 1, 1))) for _ in range(2))
        turns = degrees[:, None, None] * hours / 240 + degrees[None, :, None] * hours / 113
        waves = torch.complex(real, imaginary) * kept * torch.from_numpy(np.exp(2j * np.pi * turns))
        waves[0] = waves[0].real + 0j
        field = nodes.field(waves).numpy()
        fields[..., column] = field / field.std() + 0.05 * random.normal(size=field.shape)
    return fields


def write_dataset(path: Path, values: NDArray[np.float32], times: NDArray[np.int64]) -> None:
    """Write fields [time, node, variable] as a dataset."""
    arrays = {
        name: (("time", "number", "cell"), values[:, None, :, column], {"units": UNITS[column]})
        for column, name in enumerate(NAMES)
    }
    fields = xr.Dataset(arrays, {"time": to_datetime(times)})
    create_dataset(path, fields, mesh=MESH, time_step=HOUR, ensemble_axis="member", attributes={}, overwrite=True)


def main() -> None:
    """Write the case and print the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    days = 40
    hours = np.arange(24 * days)
    write_dataset(folder / "train.zarr", MEAN + STD * weather(hours, 1), 3600 * hours)
    hours = 24 * days + np.arange(24 * CASES + LEADS)
    truth, errors = weather(hours, 1), weather(np.arange(400), 2)
    write_dataset(folder / "truth.zarr", MEAN + STD * truth, 3600 * hours)
    starts = 24 * np.arange(CASES)

    def leads() -> Iterator[NDArray[np.float32]]:
        for lead in range(1, LEADS + 1):
            error = errors[(7 * np.arange(CASES) + lead // 3) % len(errors)]
            yield (MEAN + STD * (truth[starts + lead] + 0.03 * np.sqrt(lead) * error))[:, None]

    none = np.full(CASES, -1)
    heading = ForecastHeading("waves", MESH, HOUR, NAMES, UNITS, 3600 * hours[starts], none, 1, {"seed": "0"})
    write_netcdf(folder / "forecast.nc", heading, leads())
    print(
        f"/usr/bin/time -v meshcast verify {folder}/forecast.nc --truth {folder}/truth.zarr "
        f"--train {folder}/train.zarr --output {folder}/report"
    )


if __name__ == "__main__":
    main()
