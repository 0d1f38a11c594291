"""Forecast files: written lead by lead so that nothing is lost, resumed, and read whichever centre wrote them."""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import StoredMesh, mesh_to_json, time_step_from_json, time_step_to_json
from emulator.data.forecast import Forecast, NoForecastError
from emulator.data.forecast_netcdf import PARTS, UNSTATED, ForecastHeading, write_netcdf
from emulator.data.formats import file_format, format_of
from emulator.data.output_choice import chosen_output, chosen_start
from emulator.foundation.fetched_files import is_plain_path, local_files
from emulator.foundation.typed_json import typed_json
from graphs.atomic_file import full_disk, put, refuse_existing, sync, system_errors
from graphs.errors import MeshcastError, refuse_damaged
from graphs.mesh import Mesh
from graphs.temporary_files import discard, new_file

MOST_MEMBERS = 1_000_000  # more than any ensemble
MOST_THREADS = 4096  # more than any machine has
MAGIC = b"meshcast partial forecast 1\n"
CHECK_BYTES = 4
SYNC_SECONDS = 5.0  # at least from one wait for the disk to the next


@dataclass(frozen=True)
class _PartialHeader:
    """The line of JSON in a partial file, by the names of ForecastHeading.

    positions: nodes and coordinates of each. leads_checked: whether a checksum stands behind every lead, as in none of
    version 0.1.
    """

    name: str
    mesh: str
    time_step: str
    variables: tuple[str, ...]
    units: tuple[str, ...]
    init_time: list[int]
    trajectory: list[int]
    num_members: int
    attributes: dict[str, str]
    positions: tuple[int, int]
    threads: int | None = None
    every: int = 1
    leads_checked: bool = False


class ForecastWriter:
    """A forecast that grows by one lead time a call, and becomes a CF NetCDF file when complete.

    While it grows it is `PATH.part`: a line of JSON, the nodes, then the fields as plain float32, one lead after the
    other, each with its CRC-32. Appending to such a file cannot harm what it holds, as appending to NetCDF can.
    Whatever breaks off a run, `resume` finds every whole lead, and takes none that a power cut left as zeros. Such a
    cut costs the leads of the last `SYNC_SECONDS`.

    heading: all but the values; of its attributes licence, attribution, title and the like become CF's own, everything
        else `meshcast_*`.
    leads_done: lead times appended so far.

    Raises MeshcastError where the output exists or cannot be written, or the disk is full.
    """

    def __init__(self, path: str | Path, heading: ForecastHeading, overwrite: bool = False) -> None:
        self.path, self.partial, self.heading = Path(path), partial_file(path), heading
        self.leads_done = 0
        refuse_existing(self.path, overwrite)
        _refuse_unnameable(chosen_output(heading, ())[0].variables)
        self._check_bytes, self._synced = CHECK_BYTES, time.monotonic()
        header, temporary = self._header(), None
        try:
            with self._explained():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                temporary = new_file(self.partial)
                temporary.write_bytes(header)
                put(temporary, self.partial)  # so that its header is whole, and no link is followed
                self._file: BinaryIO = _opened(self.partial)
                self._start = self._file.seek(len(header))
        finally:
            discard(temporary)

    @classmethod
    def resume(cls, path: str | Path) -> ForecastWriter:
        """Return the writer of a forecast that was broken off, with its `leads_done`; refuse an unreadable one."""
        partial = partial_file(path)
        if not partial.exists():
            raise MeshcastError(f"There is no partial forecast {partial} to resume. Start it anew.")
        writer = cls.__new__(cls)
        writer.path, writer.partial = Path(path), partial
        try:
            writer._file = _opened(partial)
            writer._read_header()
        except (OSError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            writer.close() if hasattr(writer, "_file") else None
            raise MeshcastError(
                f"The partial forecast {partial} cannot be read: {error}. Delete it and start anew."
            ) from None
        whole = (partial.stat().st_size - writer._start) // writer._stride
        with refuse_damaged(partial):
            writer.leads_done = next((lead for lead in range(whole) if not writer._is_sound(lead)), whole)
        writer._file.truncate(writer._start + writer.leads_done * writer._stride)  # what was cut short, or never came
        return writer

    @classmethod
    def start_or_resume(cls, path: str | Path, heading: ForecastHeading, overwrite: bool = False) -> ForecastWriter:
        """Return a writer that resumes the partial file of the same forecast, or a new one; refuse that of another."""
        if not partial_file(path).exists():
            return cls(path, heading, overwrite)
        refuse_existing(Path(path), overwrite)
        writer = cls.resume(path)
        found, names = writer.heading, {field.name for field in fields(heading)} - {"attributes", "threads"}
        different = [name for name in sorted(names) if not _equal(getattr(found, name), getattr(heading, name))]
        compared = dict.fromkeys([*heading.attributes, "output_choice"])
        stated = {**UNSTATED, **found.attributes}
        different += [name for name in compared if stated.get(name) != heading.attributes.get(name)]
        if different:
            writer.close()
            raise MeshcastError(
                f"The partial forecast {writer.partial} is of another forecast: its {', '.join(different)} differ. "
                "Finish that one with the same options, delete the file, or choose another output."
            )
        return writer

    def append(self, values: NDArray[np.floating]) -> None:
        """Add the next lead time: values [case, member, node, variable]."""
        assert values.shape == self.lead_shape, f"a lead is {self.lead_shape}, not {values.shape}"
        with self._explained():
            content = np.ascontiguousarray(values, dtype=np.float32).tobytes()
            self._file.seek(self._start + self.leads_done * self._stride)
            self._file.write(content)
            self._file.write(_checksum(content, self.leads_done)[: self._check_bytes])
            self._file.flush()
            self.leads_done += 1
            if time.monotonic() - self._synced > SYNC_SECONDS:
                sync(self.partial)
                self._synced = time.monotonic()

    def leads(self, first: int, stop: int) -> NDArray[np.float32]:
        """Return leads `first` to `stop` - 1, from 0, [case, member, lead, node, variable], bit for bit as appended."""
        assert 0 <= first < stop <= self.leads_done
        return np.stack([self._lead(lead) for lead in range(first, stop)], axis=2)

    def finish(self, attributes: Mapping[str, str] | None = None, initial: NDArray[np.float32] | None = None) -> Path:
        """Write the file beside its final name, with more attributes, rename it, and remove the partial file.

        It holds what the heading's output choice leaves of the forecast.

        initial: states at the initial times [case, member, node, variable], NaN of variables that are only predicted.
        """
        heading = replace(self.heading, attributes={**self.heading.attributes, **(attributes or {})})
        beside = None
        try:
            with self._explained():
                beside = new_file(self.path)
                with system_errors(beside, self.leads_done * self._lead_bytes + 2**20):
                    written, leads = chosen_output(heading, map(self._lead, range(self.leads_done)))
                    start = None if initial is None else chosen_start(heading, initial)
                    write_netcdf(beside, written, leads, start)
                put(beside, self.path)
        finally:
            discard(beside)
        self.close()
        self.partial.unlink()
        return self.path

    def is_empty(self) -> bool:
        """Return whether no value that would be written is a number."""
        _, leads = chosen_output(self.heading, map(self._lead, range(self.leads_done)))
        return not any(np.isfinite(lead).any() for lead in leads)

    def discard(self) -> None:
        """Remove the partial file: nothing in it is worth going on from."""
        self.close()
        self.partial.unlink()

    def close(self) -> None:
        """Close the partial file, to be resumed later."""
        with contextlib.suppress(OSError):
            self._file.close()

    @property
    def lead_shape(self) -> tuple[int, int, int, int]:
        """Return the shape of a lead [case, member, node, variable]."""
        of = self.heading
        return len(of.init_time), of.num_members, of.mesh.num_nodes, len(of.variables)

    @property
    def _lead_bytes(self) -> int:
        return 4 * int(np.prod(self.lead_shape))

    @property
    def _stride(self) -> int:
        return self._lead_bytes + self._check_bytes

    def _is_sound(self, lead: int) -> bool:
        """Return whether a lead is on the disk as it was appended; of an earlier version, whether it is there."""
        self._file.seek(self._start + lead * self._stride)
        content = self._file.read(self._lead_bytes)
        return self._file.read(self._check_bytes) == _checksum(content, lead)[: self._check_bytes]

    def _lead(self, lead: int) -> NDArray[np.float32]:
        self._file.seek(self._start + lead * self._stride)
        return np.frombuffer(self._file.read(self._lead_bytes), dtype=np.float32).reshape(self.lead_shape)

    def _header(self) -> bytes:
        of = self.heading
        content = vars(of) | {
            "mesh": mesh_to_json(of.mesh),
            "time_step": time_step_to_json(of.time_step),
            "init_time": of.init_time.tolist(),
            "trajectory": of.trajectory.tolist(),
            "attributes": dict(of.attributes),
            "positions": list(of.mesh.positions.shape),
            "leads_checked": True,
        }
        return MAGIC + json.dumps(content).encode() + b"\n" + of.mesh.positions.tobytes() + of.mesh.areas.tobytes()

    def _read_header(self) -> None:
        if self._file.readline() != MAGIC:
            raise ValueError("it is no partial forecast of this version")
        content = dict(vars(typed_json(_PartialHeader, self._file.readline())))
        self._check_bytes, self._synced = CHECK_BYTES if content.pop("leads_checked") else 0, time.monotonic()
        nodes, dimension = content.pop("positions")
        left = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if not (nodes > 0 and dimension in (2, 3) and 8 * nodes * (dimension + 1) <= left):
            raise ValueError(f"its {nodes} nodes of {dimension} coordinates are not there")
        places = np.frombuffer(self._file.read(8 * nodes * (dimension + 1)))
        described = typed_json(StoredMesh, content["mesh"])
        mesh = Mesh(
            positions=places[: nodes * dimension].reshape(nodes, dimension),
            areas=places[nodes * dimension :],
            shape=described.shape,
            domain=described.domain,
            levels=described.levels,
            boundary=described.boundary_of(nodes),
        )
        content |= {name: np.array(content[name], dtype=np.int64) for name in ("init_time", "trajectory")}
        content |= {"mesh": mesh, "time_step": time_step_from_json(content["time_step"])}
        self.heading = ForecastHeading(**content)
        _refuse_strange(self.heading)
        self._start = self._file.tell()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system says into what a user can do; a partial file without a whole lead is not kept."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # RuntimeError is netCDF4's
            if hasattr(self, "_file"):
                self.close()
            full = full_disk(error) is not None
            reason = "the disk is full" if full else getattr(error, "strerror", None) or str(error)
            advice = "Free some space" if full else "Choose a folder that exists and that you may write to"
            if self.leads_done:
                advice += f", then resume: the {self.leads_done} lead times computed so far are in {self.partial}"
            else:
                with contextlib.suppress(OSError):
                    self.partial.unlink(missing_ok=True)
            raise MeshcastError(f"Cannot write {self.path}: {reason}. {advice}.") from None


def _checksum(content: bytes, lead: int) -> bytes:
    return zlib.crc32(content, lead).to_bytes(CHECK_BYTES, "little")


def _opened(partial: Path) -> BinaryIO:
    """Return a partial forecast to read and to write; a symbolic link is not followed."""
    return os.fdopen(os.open(partial, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)), "r+b")


def _refuse_unnameable(variables: Sequence[str]) -> None:
    """Raise MeshcastError where NetCDF would refuse the name of a variable, or take it for a group's."""
    for name in variables:
        if "/" in name or name.strip() != name or not name.isprintable() or name in ("", ".", ".."):
            raise MeshcastError(
                f"No variable of a forecast file can be called {name!r}: NetCDF takes no slash, no control character "
                "and no blank at either end. Give it another name where training data are made (--rename), and train "
                "so."
            )


def _refuse_strange(heading: ForecastHeading) -> None:
    """Raise ValueError where what a partial file says of its forecast cannot be."""
    if not 1 <= heading.num_members <= MOST_MEMBERS:
        raise ValueError(f"it says that it has {heading.num_members} members")
    threads = 1 if heading.threads is None else heading.threads
    if heading.every < 1 or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"it says that it holds every {heading.every} steps, by {heading.threads} threads")
    if heading.init_time.shape != heading.trajectory.shape or not len(heading.init_time):
        raise ValueError("its cases have no initial time and trajectory each")
    parts = heading.attributes.get(PARTS, "1")
    if not (parts.isdecimal() and int(parts[:9]) > 0):
        raise ValueError(f"it says that a step has {parts!r:.40} parts")
    if not heading.variables or len(heading.variables) != len(heading.units):
        raise ValueError("its variables have no name and units each")


def partial_file(path: str | Path) -> Path:
    """Return the name of a forecast that is not yet complete."""
    return Path(f"{path}.part")


def read_forecast(path: str | Path, later: bool = False) -> Forecast:
    """Return the forecast of a file, ours, CF NetCDF or GRIB; raise MeshcastError where it is damaged or none.

    later: whether large values may be arrays of Dask, read where they are asked for; ours in NetCDF are.
    """
    if not is_plain_path(path):
        with local_files(path) as files:
            return read_forecast(files[0])
    path = Path(path)
    if not path.exists() and partial_file(path).exists():
        raise MeshcastError(f"{path} is not complete: {partial_file(path)} is. Resume its forecast to finish it.")
    known = format_of(path)
    known = known if known.read_forecast else file_format(path)
    read = (later and known.read_forecast_later) or known.read_forecast
    if read is None:
        raise NoForecastError(f"{path} is no forecast; expected a forecast file in GRIB or NetCDF.")
    return read(path)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Mesh):
        return first.same_nodes(second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return bool(first == second)
