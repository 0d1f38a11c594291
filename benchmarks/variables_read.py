"""What does it cost to read 5 of 50 variables? Processor time and bytes, by how a dataset is cut into pieces, as JSON.

    python benchmarks/variables_read.py --level 5 > variables.json

A dataset of 50 variables is written as Meshcast writes it, and copied into pieces that hold all variables of a date, as
anemoi-datasets writes them. Of both are read, through `open_fields` and from the disk's cache: 48 windows of two dates,
as a training draws them, and the whole series in runs of 24 dates, as statistics do; 5 variables spread over the 50,
and all. Bytes are of the compressed pieces opened; `share` is of all 50. Median of five.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from emulator.data.datasets.create import create_dataset
from emulator.data.sources import open_fields
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from graphs.meshes.icosphere import icosphere

NAMES = tuple(f"x_{number}" for number in range(50))
FEW = [NAMES[place] for place in (3, 11, 20, 33, 47)]


def write(path: Path, level: int, dates: int) -> None:
    """Write random fields of fifty variables, smooth but for a noise of a hundredth, which compresses as real data."""
    mesh, rng = icosphere(level), np.random.default_rng(0)
    waves = np.cos(mesh.positions @ rng.normal(size=(3, 20)) * 6)  # [node, wave]
    values = [(rng.normal(size=(dates, 20)) @ waves.T).astype(np.float32)[:, None] for _ in NAMES]
    arrays = {
        name: (("time", "number", "cell"), field, {"units": "1"}) for name, field in zip(NAMES, values, strict=True)
    }
    times = np.datetime64("2000-01-01", "s") + np.arange(dates) * np.timedelta64(6, "h")
    dataset = xr.Dataset(arrays, coords={"time": times})
    step = TimeStep.parse("6h")
    create_dataset(path, dataset, mesh=mesh, time_step=step, ensemble_axis="member", attributes={})


def with_all_variables_together(source: Path, path: Path) -> None:
    """Copy a store into pieces of one date and all variables, the default of anemoi-datasets."""
    zarr.copy_store(zarr.DirectoryStore(str(source)), zarr.DirectoryStore(str(path)), excludes=["data/"])
    given, group = zarr.open(str(source), "r"), zarr.open(str(path), "r+")
    data = given["data"]
    if "data" in group:
        del group["data"]
    copied = group.create_dataset("data", shape=data.shape, chunks=(1, *data.shape[1:]), dtype="f4", fill_value=np.nan)
    copied.attrs.update(data.attrs)
    for date in range(len(data)):
        copied[date : date + 1] = data[date : date + 1]


def bytes_opened(fields: Any, read: Callable[[], None]) -> int:
    """Return the bytes of the compressed pieces that a reading opens."""
    (store,) = fields.stores
    array, found = store.data, []

    class Counted(zarr.DirectoryStore):
        def __getitem__(self, key: str) -> bytes:
            content: bytes = super().__getitem__(key)
            found.append(len(content) if key[0].isdigit() else 0)
            return content

    store.data = zarr.open_array(Counted(str(Path(array.store.path) / "data")), mode="r")
    read()
    store.data = array
    return sum(found)


def measured(fields: Fields, names: list[str]) -> dict[str, dict[str, float]]:
    """Return processor seconds and megabytes of both ways of reading."""
    dates = len(fields.times)
    starts = np.random.default_rng(0).integers(0, dates - 1, 48)

    def windows() -> None:
        for start in starts:
            fields.read(slice(int(start), int(start) + 2), names)

    def series() -> None:
        for start in range(0, dates, 24):
            fields.read(slice(start, start + 24), names)

    found = {}
    for name, read in (("windows", windows), ("series", series)):
        seconds = []
        for _ in range(5):
            before = time.process_time()
            read()
            seconds.append(time.process_time() - before)
        found[name] = {"seconds": float(np.median(seconds)), "megabytes": bytes_opened(fields, read) / 1e6}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", type=int, default=5, help="of the icosphere: 10,242 nodes on level 5")
    parser.add_argument("--dates", type=int, default=96)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        ours, together = Path(folder) / "ours.zarr", Path(folder) / "together.zarr"
        write(ours, options.level, options.dates)
        with_all_variables_together(ours, together)
        for label, path in (("a variable a piece", ours), ("all variables a piece", together)):
            fields = open_fields(str(path))
            chunks = zarr.open(str(path), "r")["data"].chunks
            few, every = measured(fields, FEW), measured(fields, list(NAMES))
            share = {way: {what: few[way][what] / every[way][what] for what in ("seconds", "megabytes")} for way in few}
            result[label] = {"pieces": list(chunks), "five": few, "fifty": every, "share": share}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
