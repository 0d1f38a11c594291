"""Whether a file is whole, and what it says: the same digest for the same content, whatever the date of writing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WRITTEN_WHEN = ("history", "provenance_load", "provenance", "uuid", "latest_write_timestamp", "write_stop_timestamp")
TEMPORARY = (".part", ".probe", ".lock", ".tmp")


class NotWholeError(Exception):
    """A file under a final name that does not open, or holds less than it declares."""


def is_temporary(path: Path) -> bool:
    """Return whether a name, or that of a folder it lies in, says that it is not final."""
    return any((name.startswith(".") and name not in (".zattrs", ".zarray", ".zgroup")) or name.endswith(TEMPORARY)
               for name in path.parts)  # fmt: skip


def listing(folder: Path) -> list[str]:
    """Return every file below a folder, but for locks, whose files may stay."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(str(path) for path in found if ".lock" not in path.name)


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of what every file and dataset below a folder says; raise NotWholeError."""
    return {str(path.relative_to(folder)): content(path) for path in _items(folder)}


def content(path: Path) -> str:
    """Return a digest of what a file or a dataset says, "" where two runs may differ; raise NotWholeError."""
    reader = _zarr if path.suffix == ".zarr" else READERS.get(path.suffix)
    if reader is None:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader(path)
    except NotWholeError:
        raise
    except Exception as error:
        raise NotWholeError(f"{path.name}: {type(error).__name__}: {str(error)[:200]}") from error


def _items(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        for name in [name for name in folders if name.endswith(".zarr")]:
            folders.remove(name)
            if not is_temporary((here / name).relative_to(folder)):
                yield here / name
        yield from (here / name for name in files if not is_temporary((here / name).relative_to(folder)))


def _digest(*items: Any) -> str:
    found = hashlib.sha256()
    for item in items:
        found.update(item.tobytes() if isinstance(item, np.ndarray) else repr(item).encode())
    return found.hexdigest()[:16]


def _zarr(path: Path) -> str:
    import zarr

    store = zarr.open(str(path), "r")
    items: list[Any] = [{name: value for name, value in store.attrs.items() if name in ("variables", "mesh")}]
    for name, array in sorted(store.arrays()):
        if array.nchunks_initialized < array.nchunks:
            raise NotWholeError(f"{path.name}: {name} has {array.nchunks_initialized} of {array.nchunks} chunks")
        items += [name, array.shape, np.asarray(array[...])]
    if "data" not in store or "mesh" not in store.attrs:
        raise NotWholeError(f"{path.name}: no dataset")
    return _digest(*items)


def _netcdf(path: Path) -> str:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        items: list[Any] = [[(n, file.getncattr(n)) for n in sorted(file.ncattrs()) if n not in WRITTEN_WHEN]]
        for name, variable in sorted(file.variables.items()):
            values = variable[...]
            items += [name, variable.shape, values if values.dtype != object else values.tolist()]
            items.append([(n, str(variable.getncattr(n))) for n in sorted(variable.ncattrs())])
    return _digest(*items)


def _safetensors(path: Path) -> str:
    from safetensors.numpy import load_file

    return _digest(*(item for pair in sorted(load_file(path).items()) for item in pair))


def _checkpoint(path: Path) -> str:
    import torch

    torch.load(path, weights_only=True, map_location="cpu")
    return ""


def _grib(path: Path) -> str:
    import eccodes

    with path.open("rb") as file:
        count = 0
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            eccodes.codes_get_values(message)
            eccodes.codes_release(message)
            count += 1
    if not count:
        raise NotWholeError(f"{path.name} holds no message")
    return _digest(path.read_bytes())


def _hdf5(path: Path) -> str:
    import h5py

    items: list[Any] = []
    with h5py.File(path, "r") as file:

        def take(name: str, item: Any) -> None:
            items.append((name, sorted(item.attrs)))
            if isinstance(item, h5py.Dataset):
                items.append(np.asarray(item))

        file.visititems(take)
    return _digest(*items)


def _json(path: Path) -> str:
    json.loads(path.read_text())
    return ""


def _csv(path: Path) -> str:
    text = path.read_text()
    lengths = {len(line) for line in csv.reader(io.StringIO(text))}
    if len(lengths) != 1 or not text.endswith("\n"):
        raise NotWholeError(f"{path.name} has lines of {sorted(lengths)} columns, and ends in {text[-10:]!r}")
    return ""


def _picture(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        for frame in range(getattr(picture, "n_frames", 1)):
            picture.seek(frame)
            picture.load()
    return ""


def _page(path: Path) -> str:
    if not path.read_text().rstrip().endswith("</html>"):
        raise NotWholeError(f"{path.name} does not end")
    return ""


def _table(path: Path) -> str:
    import pyarrow.parquet

    pyarrow.parquet.read_table(path, use_threads=False)
    return ""


def _yaml(path: Path) -> str:
    import yaml

    if not isinstance(yaml.safe_load(path.read_text()), dict) or not path.read_text().endswith("\n"):
        raise NotWholeError(f"{path.name} holds no configuration")
    return _digest(path.read_text())


def _pdf(path: Path) -> str:
    if not path.read_bytes().rstrip().endswith(b"%%EOF"):
        raise NotWholeError(f"{path.name} does not end")
    return ""


READERS = {
    ".nc": _netcdf, ".hdf5": _hdf5, ".safetensors": _safetensors, ".ckpt": _checkpoint, ".grib": _grib, ".json": _json,
    ".csv": _csv, ".png": _picture, ".gif": _picture, ".html": _page, ".parquet": _table, ".yaml": _yaml, ".pdf": _pdf,
}  # fmt: skip
