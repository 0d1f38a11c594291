"""What a tracker is given of a run, and what it must do with it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol

from graphs.errors import MeshcastError
from training.json_file import read_json, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """What happened at one update.

    values: finite numbers by name. picture: of the validation's forecast, where there was one.
    """

    update: int
    values: Mapping[str, float]
    picture: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    status: `stopped` by a signal, to be resumed; `failed` by an error.
    scores: of a run that is finished, by name. model: its emulator file; files: what else a record keeps of it.
    """

    status: Literal["finished", "stopped", "failed"]
    scores: Mapping[str, float] = field(default_factory=dict)
    model: Path | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TrackedRun:
    """What identifies a run and does not change while it is trained.

    name: of the run; project: that it belongs to.
    folder: of the run; output: beside those of other runs.
    config: the resolved configuration. facts: its hash, the fingerprints of its data, versions, commit.
    memory: what a tracker must know of it again after a resume, the one identifier of all its records above all.
    resumed: whether it goes on from a checkpoint.
    """

    name: str
    project: str
    folder: Path
    output: Path
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    memory: TrackingFile
    resumed: bool = False


class RefusedError(Exception):
    """A tracker will never take this run as it is configured: no login, no permission, a name it does not know."""


class Tracker(Protocol):
    """A record of a run elsewhere. Every method may raise anything, and may take for ever.

    name: for a person; key: as in the configuration. notices: lines for the training to say.
    """

    name: str
    key: str
    notices: list[str]

    def open(self) -> int:
        """Begin the record, or go on with it, and return the last update that it holds, -1 of none.

        Called again where a call failed since.
        """

    def log(self, rows: Sequence[Row]) -> None:
        """Add rows, all after the last it holds, in order."""

    def finish(self, outcome: Outcome) -> None:
        """Close the record, with the model where the run is finished."""

    def remedy(self) -> str:
        """Return how to bring what is missing where it belongs, as a sentence; empty where nothing is to be done."""


class TrackingFile:
    """tracking.json of a run folder: the identifier of the run's records, and how far those have come that cannot say.

    A run that is resumed goes on with the same records. One that cannot be read is begun anew, with other records.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / "tracking.json", Lock()
        self._content: dict[str, Any] = {}
        if self._path.is_file():
            try:
                self._content = read_json(self._path, "The run goes on with new records.")
            except MeshcastError as error:
                log.warning("%s", error)
        if not isinstance(self._content.get("id"), str):
            self._content = {"id": secrets.token_hex(8)}
            write_json(self._path, self._content)

    @property
    def id(self) -> str:
        """Return the identifier of the run's records."""
        return str(self._content["id"])

    def get(self, name: str, default: int) -> int:
        """Return what was kept under a name."""
        return int(self._content.get(name, default))

    def keep(self, **values: int) -> None:
        """Keep numbers under their names."""
        with self._lock:
            self._content |= values
            write_json(self._path, self._content)


def refuse_absent(package: str, asked: str) -> None:
    """Raise MeshcastError where a package is not installed that `asked` needs."""
    if find_spec(package) is None:
        raise MeshcastError(f"{asked} needs the package {package}: pip install 'meshcast[tracking]'.")
