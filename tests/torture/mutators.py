"""Changes to inputs: of bytes, and of what a format means, each drawn from a generator."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Mutator = Callable[[Path, random.Random], None]

NASTY: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, 10**12, 10**30, -(10**12), 1e308, math.nan, math.inf, -math.inf,
    1e-320, 0.5, "", " ", "nan", "..", "../up", "/proc/nowhere", "a" * 5000, "\x00", "\x1b[31mred", "$\\frac{", "[bold",
    "http://127.0.0.1:9/x", [], {}, [[]], [None], [1, 2, 3], {"kind": "other"}, {"a": {"b": 1}}, "٣", "ring.zarr",
    [10**12], "1e9", "1 month", "2019-13-45", "u", ["u", "u"], "-1h", "0h", "1h", 1e-9, 3.7, "gnn", "{}",
    "!!python/name:os",
)  # fmt: skip


# Bytes ----------------------------------------------------------------------------------------------------------------


def _edit(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    path.write_bytes(change(bytearray(path.read_bytes())))


def _place(data: bytearray, draw: random.Random) -> int:
    """Return a place in a file, in its first kilobyte every other time, where headers are."""
    return draw.randrange(min(len(data), 1024) if draw.random() < 0.5 else len(data))


def flip(path: Path, draw: random.Random) -> None:
    """Flip one to eight bits."""

    def change(data: bytearray) -> bytearray:
        for _ in range(draw.randint(1, 8)):
            data[_place(data, draw)] ^= 1 << draw.randrange(8)
        return data

    _edit(path, change)


def cut(path: Path, draw: random.Random) -> None:
    """Cut the file short."""
    _edit(path, lambda data: data[: _place(data, draw)])


def blank(path: Path, draw: random.Random) -> None:
    """Fill a block with zeros, with ones or with noise."""

    def change(data: bytearray) -> bytearray:
        start = _place(data, draw)
        size = min(draw.choice((4, 64, 512, 4096)), len(data) - start)
        fill = draw.choice((b"\0" * size, b"\xff" * size, draw.randbytes(size)))
        data[start : start + size] = fill
        return data

    _edit(path, change)


def number(path: Path, draw: random.Random) -> None:
    """Write a huge or negative number over one that may be a size."""

    def change(data: bytearray) -> bytearray:
        value = draw.choice((2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, 0, 1, 65536))
        code, size = draw.choice((("i", 4), ("q", 8)))
        text = struct.pack(draw.choice("<>") + code, value if size == 8 else (value + 2**31) % 2**32 - 2**31)
        start = _place(data, draw)
        data[start : start + size] = text
        return data

    _edit(path, change)


def shift(path: Path, draw: random.Random) -> None:
    """Insert, remove or repeat a block."""

    def change(data: bytearray) -> bytearray:
        start, size = _place(data, draw), draw.choice((1, 7, 64, 1000))
        block = data[start : start + size]
        kind = draw.randrange(3)
        if kind == 0:
            return data[:start] + draw.randbytes(size) + data[start:]
        return data[:start] + data[start + size :] if kind == 1 else data[:start] + block + data[start:]

    _edit(path, change)


def replace(path: Path, draw: random.Random) -> None:
    """Put something else under the name: nothing, text, a page, another format, its own end."""
    own = path.read_bytes()
    path.write_bytes(draw.choice((
        b"", b"\n", b"hello, world\n", b"<!DOCTYPE html><html><title>404</title></html>", b"CDF\x01",
        b"\x89HDF\r\n\x1a\n", b"GRIB\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff", b"PK\x03\x04", b"{}", b"null",
        b"[]", own[len(own) // 2 :], own + own, draw.randbytes(2000), b"\x80\x04\x95",
    )))  # fmt: skip


BYTES: tuple[Mutator, ...] = (flip, flip, cut, blank, number, shift, replace)


# Structure ------------------------------------------------------------------------------------------------------------


def changed(value: Any, draw: random.Random) -> Any:
    """Return nested lists and dictionaries with one or two places altered."""
    holder = {"": json.loads(json.dumps(value, default=str))}
    for _ in range(draw.randint(1, 2)):
        places = [(box, key) for box in _boxes(holder) for key in (box if isinstance(box, dict) else range(len(box)))]
        box, key = draw.choice(places[1:] or places)
        kind = draw.randrange(6)
        if kind == 0 and box is not holder:
            del box[key]
        elif kind == 1 and isinstance(box, dict) and box is not holder:
            box[str(key) + draw.choice(("", "x", "_")) or "x"] = box.pop(key)
        elif kind == 2 and isinstance(box[key], int | float) and not isinstance(box[key], bool):
            box[key] = draw.choice((-box[key], box[key] * 10**6, box[key] + 1, box[key] / 3, str(box[key])))
        elif kind == 3 and isinstance(box[key], list) and box[key]:
            box[key] = draw.choice((box[key] * 2, box[key][:-1], box[key][::-1], box[key][0]))
        else:
            box[key] = draw.choice(NASTY)
    return holder[""]


def _boxes(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(box for item in inner for box in _boxes(item))]


def json_file(path: Path, draw: random.Random) -> None:
    """Alter values and keys of a JSON file."""
    path.write_text(json.dumps(changed(json.loads(path.read_text()), draw)))


def yaml_file(path: Path, draw: random.Random) -> None:
    """Alter values and keys of a YAML file, or its text."""
    import yaml

    text = path.read_text()
    if draw.random() < 0.85:
        path.write_text(yaml.safe_dump(changed(yaml.safe_load(text), draw), sort_keys=False, allow_unicode=True))
        return
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    path.write_text(draw.choice((
        text.replace("  ", "\t"), text + text, text[: draw.randrange(len(text))], text.replace(":", ""),
        f"a0: &a0 [x]\n{levels}{text}", text + "\nname: other\n", "[" * 5000, text.replace("ring", "\u202ering"),
        "--- \n" + text + "\n---\n" + text, text.replace("1", "!!python/object/apply:os.getpid []"), "<<: *x\n" + text,
    )))  # fmt: skip


def table(path: Path, draw: random.Random) -> None:
    """Alter cells and lines of a CSV file."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    row = draw.choice(lines)
    kind = draw.randrange(5)
    if kind == 0:
        row[draw.randrange(len(row))] = str(draw.choice(NASTY))
    elif kind == 1:
        row.append("7")
    elif kind == 2:
        lines.remove(row)
    elif kind == 3:
        lines.append(row)
    else:
        draw.shuffle(lines)
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")


def tensors(path: Path, draw: random.Random) -> None:
    """Alter the header of a safetensors file: sizes, types, offsets, and the JSON within its metadata."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata = header.get("__metadata__", {})
    if metadata and draw.random() < 0.6:
        name = draw.choice(sorted(metadata))
        try:
            metadata[name] = json.dumps(changed(json.loads(metadata[name]), draw))
        except ValueError:
            metadata[name] = str(draw.choice(NASTY))
    else:
        header = changed(header, draw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if draw.random() < 0.95 else 2**62) + text + data[8 + size :])


def partial(path: Path, draw: random.Random) -> None:
    """Alter the heading of a partial forecast."""
    magic, heading, rest = path.read_bytes().split(b"\n", 2)
    content = json.loads(heading)
    path.write_bytes(magic + b"\n" + json.dumps(changed(content, draw)).encode() + b"\n" + rest)


def dataset(path: Path, draw: random.Random) -> None:
    """Alter one file of a zarr dataset, or take it away."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    file = draw.choice([p for p in files if p.name.startswith(".z")] if draw.random() < 0.6 else files)
    if draw.random() < 0.1:
        file.unlink()
    elif file.name.startswith(".z") and draw.random() < 0.7:
        json_file(file, draw)
    else:
        draw.choice(BYTES)(file, draw)


def netcdf(path: Path, draw: random.Random) -> None:
    """Alter the coordinates, attributes, sizes or values of a NetCDF file, as another program may have written them."""
    import xarray as xr

    with xr.open_dataset(path, decode_times=False, mask_and_scale=False) as file:
        file = file.load()
    for _ in range(draw.randint(1, 2)):
        file = draw.choice(NETCDF)(file, draw)
    try:
        file.to_netcdf(path)
    except (AttributeError, OSError, RuntimeError, TypeError, ValueError):  # what xarray itself refuses to write
        flip(path, draw)


def hdf5(path: Path, draw: random.Random) -> None:
    """Alter the groups, sizes, attributes or values of a file of The Well, as another script may have written them."""
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(draw.randint(1, 2)):
            name = draw.choice([name for name in names if name in file])
            item, kind = file[name], draw.randrange(6)
            if kind == 0:
                del file[name]
            elif kind == 1:
                file.move(name, name + draw.choice(("x", "_eastward")))
            elif kind == 2 and item.attrs:
                _describe_otherwise(item, draw)
            elif kind == 3:
                _describe_otherwise(file, draw)
            elif hasattr(item, "shape"):
                values = np.array(item)
                attributes = dict(item.attrs)
                if kind == 4 or not values.size or values.dtype.kind != "f":
                    values = draw.choice((values[:-1], values[None], values[..., :1], values.astype("i2"), values * 0,
                                          values[::-1], np.zeros((0, *values.shape[1:]))))  # fmt: skip
                else:
                    place = draw.randrange(values.size)
                    values.flat[place : place + draw.choice((1, 50, values.size))] = draw.choice(
                        (math.nan, math.inf, 1e30, -1.0, 7.0)
                    )
                del file[name]
                file.create_dataset(name, data=values).attrs.update(attributes)


def _describe_otherwise(item: Any, draw: random.Random) -> None:
    """Drop one of an item's attributes, or give it another value."""
    name = draw.choice(sorted(item.attrs))
    if draw.random() < 0.3:
        del item.attrs[name]
    else:
        item.attrs[name] = draw.choice((
            "", "cartesian", "planetswe", ["phi", "theta"], ["x", "y", "z"], ["height"], ["velocity", "height"], [], 0,
            3, -1, 10**12, math.nan, True, False, [True, False], [False, True], "\x1b[2J",
        ))  # fmt: skip


ATTRIBUTES = (
    "radians", "degrees_north", "1", "", "K", "Pa", "months since 2019-01-01", "hours since 0000-00-00",
    "fortnights since yesterday", "360_day", "noleap", "\x1b[2J", "$\\frac{", 0.0, math.nan, math.inf, -1.0, 1e300,
    "latitude", "m s-1", "hours since 2019-03-01", "degC",
)  # fmt: skip


def _attribute(file: Any, draw: random.Random) -> Any:
    target = file[draw.choice(sorted(map(str, file.variables)))]
    known = ("units", "calendar", "standard_name", "scale_factor", "add_offset", "_FillValue", "missing_value", "axis",
             "bounds", "grid_mapping", "coordinates", "long_name", "positive")  # fmt: skip
    name = draw.choice(known)
    value = draw.choice(ATTRIBUTES)
    if name in ("scale_factor", "add_offset", "_FillValue", "missing_value"):
        target.encoding.pop(name, None)
        value = (
            target.dtype.type(value) if isinstance(value, float) and target.dtype.kind == "f" else target.dtype.type(0)
        )
    if draw.random() < 0.2:
        target.attrs.pop(name, None)
    else:
        target.attrs[name] = value
    return file


def _values(file: Any, draw: random.Random) -> Any:
    name = draw.choice(sorted(map(str, file.variables)))
    values = np.array(file[name].values)
    if values.dtype.kind not in "fi" or not values.size:
        return file
    values = values.astype(np.float64) if draw.random() < 0.3 else values
    where = draw.randrange(values.size)
    bad = draw.choice((math.nan, math.inf, -math.inf, 1e30, -1e30, 0.0, 9.96921e36))
    if values.dtype.kind == "f":
        values.reshape(-1)[... if draw.random() < 0.4 else where] = bad
    else:
        values.reshape(-1)[where] = draw.choice((-(2**31), 2**31 - 1, 0))
    return file.assign({name: (file[name].dims, values, file[name].attrs)})


def _order(file: Any, draw: random.Random) -> Any:
    axis = draw.choice(sorted(map(str, file.sizes)))
    length = file.sizes[axis]
    take = draw.choice((slice(None, None, -1), slice(0, 1), slice(0, 0), slice(0, 2), [0, 0], slice(None, None, 2),
                        list(draw.sample(range(length), min(length, 3)))))  # fmt: skip
    return file.isel({axis: take}) if length else file


def _names(file: Any, draw: random.Random) -> Any:
    name = draw.choice(sorted(map(str, file.variables)))
    if draw.random() < 0.4:
        return file.drop_vars(name)
    new = draw.choice(("x", "lat", "lon", "time", "valid_time", "number", "t2m", "msl", "$a_b$", "a/b"))
    return (
        file
        if new.replace("/", "_") in file.variables or new in file.dims
        else file.rename({name: new.replace("/", "_")})
    )


def _shape(file: Any, draw: random.Random) -> Any:
    names = sorted(map(str, file.data_vars))
    if not names:
        return file
    name = draw.choice(names)
    kind = draw.randrange(3)
    if kind == 0 and "height" not in file[name].coords:
        return file.assign({name: file[name].expand_dims({"height": [2.0]})})
    if kind == 1 and file[name].ndim:
        return file.assign({name: file[name].transpose()})
    return file.assign({name: file[name].astype(draw.choice(("i2", "f8", "u1", "i8")))})


NETCDF = (_attribute, _attribute, _values, _order, _names, _shape)


def grib(path: Path, draw: random.Random) -> None:
    """Set keys of GRIB messages to what they may not be, leave messages out, or repeat them."""
    import eccodes

    with path.open("rb") as file:
        messages = []
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            messages.append(message)
    keys = (
        "step", "dataDate", "dataTime", "Ni", "Nj", "bitsPerValue", "paramId", "level", "number", "gridType", "centre",
        "iDirectionIncrement", "latitudeOfFirstGridPointInDegrees", "longitudeOfLastGridPointInDegrees", "packingType",
        "decimalScaleFactor", "binaryScaleFactor", "jScansPositively", "perturbationNumber", "bitmapPresent",
    )  # fmt: skip
    chosen = draw.choice(messages)
    for _ in range(draw.randint(1, 3)):
        try:
            eccodes.codes_set(chosen, draw.choice(keys), draw.choice((0, 1, -1, 2, 7, 255, 65535, 10**6, 20190230)))
        except Exception:  # ecCodes refuses most of them
            continue
    if draw.random() < 0.4:
        messages.remove(chosen)
    elif draw.random() < 0.3:
        messages.append(chosen)
    path.write_bytes(b"".join(eccodes.codes_get_message(message) for message in messages))
