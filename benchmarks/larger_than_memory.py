"""Data larger than memory: synthetic files written as a dataset, normalised, trained on and verified, step by step.

python benchmarks/larger_than_memory.py FOLDER [--gigabytes 10] [--level 5] [--variables 50] [--updates 50]
    [--workers N] [--memory 3] [--steps files dataset statistics train forecast verify] [--keep]

Each step runs in a process of its own and adds a line of JSON to FOLDER/results.jsonl: seconds of the clock and of the
processor, and the most memory that one process held (the resident set; pages of files that are mapped count in it), of
`train` also the share of an update that its batch was waited for. A step that is done is not done again, so that a long
run can be cut into pieces. The data are drifting waves with noise on an icosphere, one NetCDF file for each 256 MB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphs import available_memory

FILE_BYTES = 256e6
STEPS = ("files", "dataset", "statistics", "train", "forecast", "verify")


@dataclass(frozen=True)
class Case:
    """What is measured."""

    folder: str
    gigabytes: float
    level: int
    variables: int
    updates: int
    workers: int
    width: int
    memory: float

    @property
    def names(self) -> list[str]:
        return [f"x{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(self.variables)]

    @property
    def num_nodes(self) -> int:
        return 10 * 4**self.level + 2

    @property
    def num_times(self) -> int:
        return max(40, int(self.gigabytes * 1e9 / (4 * self.variables * self.num_nodes)))

    @property
    def last_training_date(self) -> str:
        return str(np.datetime64("2000-01-01T00:00:00") + np.timedelta64(int(0.8 * self.num_times), "h"))


def files(case: Case) -> dict[str, Any]:
    """Write the input."""
    import netCDF4

    from graphs.meshes.icosphere import icosphere

    mesh, folder = icosphere(case.level), Path(case.folder) / "input"
    folder.mkdir(exist_ok=True)
    per_file = max(1, int(FILE_BYTES / (4 * case.variables * case.num_nodes)))
    x, y, z = mesh.positions.T.astype(np.float32)
    random = np.random.default_rng(0)
    for first in range(0, case.num_times, per_file):
        path = folder / f"{first:06d}.nc"
        if path.exists():
            continue
        hours = np.arange(first, min(first + per_file, case.num_times))
        with netCDF4.Dataset(folder / "unfinished", "w") as file:
            for name, size in (("time", len(hours)), ("cell", case.num_nodes)):
                file.createDimension(name, size)
            places = {"latitude": (mesh.latitudes, "degrees_north"), "longitude": (mesh.longitudes, "degrees_east")}
            for name, (values, units) in places.items():
                variable = file.createVariable(name, "f8", ("cell",))
                variable.setncatts({"units": units, "standard_name": name})
                variable[:] = values
            time_axis = file.createVariable("time", "i8", ("time",))
            time_axis.setncatts({"units": "hours since 2000-01-01", "standard_name": "time"})
            time_axis[:] = hours
            for number, name in enumerate(case.names):
                variable = file.createVariable(name, "f4", ("time", "cell"))
                variable.setncatts({"units": "K", "coordinates": "latitude longitude"})
                angle = (2 * np.pi * hours / (24 + 3 * number)).astype(np.float32)[:, None]
                waves = np.cos(angle) * (x * y + number * z / 50) + np.sin(angle) * (y * z - x)
                noise = random.standard_normal(waves.shape, dtype=np.float32)
                variable[:] = 250 + number + 10 * waves + 0.1 * noise
        (folder / "unfinished").rename(path)
    return {"bytes": sum(path.stat().st_size for path in folder.iterdir()), "files": len(list(folder.iterdir()))}


def dataset(case: Case) -> dict[str, Any]:
    """Write the dataset, as `meshcast dataset` does."""
    from emulator.data.convert import convert
    from emulator.foundation.workers import workers_of

    sources = sorted((Path(case.folder) / "input").glob("*.nc"))
    with workers_of(case.workers if case.workers > 1 else None) as workers:
        convert(sources, Path(case.folder) / "data.zarr", workers=workers)
    size = sum(path.stat().st_size for path in (Path(case.folder) / "data.zarr").rglob("*") if path.is_file())
    return {"bytes": size}


def statistics(case: Case) -> dict[str, Any]:
    """Take the statistics of the training part, as a training does first."""
    from emulator.data.sources import open_fields
    from emulator.normalise import Statistics

    found = Statistics.of(open_fields(_training(case)), case.names)
    return {"largest_std": float(found.std.max())}


def train(case: Case) -> dict[str, Any]:
    """Train a small network, with its statistics, checks and validation."""
    from emulator.foundation.configuration import load
    from training.experiment import ExperimentConfig
    from training.optimisation import gradient_descent
    from training.preparation.read_ahead import ReadAhead
    from training.runs.fit import fit

    loaders: list[ReadAhead] = []
    seconds: list[float] = []
    load_batches = gradient_descent.WindowData.train_dataloader
    take_step = gradient_descent.EmulatorModule.training_step

    def watched(self: Any) -> Any:
        loaders.append(load_batches(self))
        return loaders[-1]

    def timed(self: Any, *batch: Any) -> Any:
        seconds.append(time.perf_counter())
        waits.append(getattr(loaders[-1], "waited", 0.0))
        return take_step(self, *batch)

    waits: list[float] = []
    gradient_descent.WindowData.train_dataloader = watched  # type: ignore[method-assign]
    gradient_descent.EmulatorModule.training_step = timed  # type: ignore[method-assign]
    content = {
        "name": "larger",
        "output": case.folder,
        "data": {
            "train": {"source": _training(case)},
            "validation": {"source": {"dataset": f"{case.folder}/data.zarr", "start": case.last_training_date}},
        },
        "task": {"prognostic": case.names},
        "emulator": {
            "kind": "gnn",
            "graph": {"processor": {"kind": "multi_mesh"}},
            "processor": {"kind": "kernel", "num_layers": 4, "latent_size": case.width, "hidden_size": case.width},
        },
        "training": {"updates": case.updates, "batch_size": 2},
        "validation": {"every": case.updates, "steps": 2, "cases": 4},
    }
    shutil.rmtree(Path(case.folder) / "larger", ignore_errors=True)  # of a run that was cut off
    fit(load(ExperimentConfig, content), progress=False)
    length = np.diff(seconds)
    waited = np.diff(waits)
    return {
        "seconds_an_update": float(np.median(length)),
        "waited_share": float(waited.sum() / length.sum()),
        "waited_share_after_the_first": float(waited[1:].sum() / length[1:].sum()),
    }


def forecast(case: Case) -> dict[str, Any]:
    """Forecast the last fifth by persistence, every eighth time, into a file."""
    from emulator.data.forecast_netcdf import ForecastHeading, write_netcdf
    from emulator.data.sources import open_fields

    truth = open_fields(f"{case.folder}/data.zarr")
    starts = np.arange(int(0.8 * case.num_times) + 1, case.num_times - 5, 8)
    none, units = np.full(len(starts), -1), ("K",) * case.variables
    heading = ForecastHeading(
        "as now", truth.mesh, truth.time_step, tuple(case.names), units, truth.times[starts], none, 1, {}
    )
    values = np.concatenate([truth.read(np.array([start]), case.names) for start in starts])[:, :1]
    path = Path(case.folder) / "forecast.nc"
    write_netcdf(path, heading, (values for _ in range(4)))
    return {"cases": len(starts), "bytes": path.stat().st_size}


def verify(case: Case) -> dict[str, Any]:
    """Verify the forecast beside the closed forms, as `meshcast verify` does."""
    from emulator.data.forecast_file import read_forecast
    from emulator.foundation.workers import workers_of
    from training.experiment import DataPart
    from training.runs.verify import verify_files

    given, source = read_forecast(f"{case.folder}/forecast.nc", later=True), f"{case.folder}/data.zarr"
    with workers_of(case.workers if case.workers > 1 else None) as workers:
        found = verify_files([given], source, DataPart(_training(case)), notice=print, workers=workers)
    scored = found.verification.emulators
    return {"emulators": len(scored), "rmse": float(scored[0].mean("rmse")[0, 0])}


def _training(case: Case) -> dict[str, Any]:
    return {"dataset": f"{case.folder}/data.zarr", "end": case.last_training_date}


def measured(case: Case, step: str) -> dict[str, Any]:
    """Run a step in a process of its own; return what it cost."""
    receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_in_process, args=(case, step, send))
    process.start()
    send.close()
    try:
        found: dict[str, Any] = receive.recv()
    except EOFError:
        sys.exit(f"The step {step} failed.")
    process.join()
    return {"step": step, **asdict(case), **found}


def _in_process(case: Case, step: str, send: Any) -> None:
    work: Callable[[Case], dict[str, Any]] = globals()[step]
    available_memory._of_system = lambda: (
        int(case.memory * 1e9) - 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    begun, used = time.perf_counter(), time.process_time()
    found = work(case)
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    costs = {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - used + children.ru_utime + children.ru_stime,
        "most_memory": 1024 * own.ru_maxrss,
        "most_memory_of_a_worker": 1024 * children.ru_maxrss,
    }
    send.send({**costs, **found})


def main(arguments: list[str] | None = None) -> None:
    """Run the steps and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--variables", type=int, default=50)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--memory", type=float, default=3.0, help="GB that a process takes for all there is")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    case = Case(
        str(given.folder),
        given.gigabytes,
        given.level,
        given.variables,
        given.updates,
        given.workers,
        given.width,
        given.memory,
    )
    results = given.folder / "results.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    known = {json.loads(line)["step"] for line in lines}
    for step in given.steps:
        if step not in known:
            line = json.dumps(measured(case, step))
            print(line, flush=True)
            with results.open("a") as file:
                file.write(line + "\n")
    if not given.keep and known | set(given.steps) == set(STEPS):
        shutil.rmtree(given.folder)


if __name__ == "__main__":
    main()
