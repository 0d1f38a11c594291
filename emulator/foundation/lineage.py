"""Which files data were made of: names, sizes and SHA-256, as an attribute that travels with the data."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from emulator.foundation.fetched_files import WATCHERS, is_plain_path, named_source

ATTRIBUTE = "source_files"
AT_ONCE = 2**23  # bytes
MOST_LISTED = 1000  # files; more of them are one record of all
Record = dict[str, Any]
Status = Literal["unchanged", "changed", "not there", "not looked at"]

_fetched: ContextVar[dict[str, list[Record]] | None] = ContextVar("fetched", default=None)


@contextmanager
def noting_fetched_files() -> Iterator[None]:
    """Note within the block what is fetched onto this machine, and removed before anybody could hash it again."""
    found: dict[str, list[Record]] = {}
    token = _fetched.set(found)

    def note(source: Any, files: Sequence[Path]) -> None:
        name = named_source(source)
        fetched = {} if _is_pattern(name) else {"name": name, "fetched": True}
        found[name] = [{**record_of(file), **fetched} for file in files]

    watching = WATCHERS.set((*WATCHERS.get(), note))
    try:
        yield
    finally:
        WATCHERS.reset(watching)
        _fetched.reset(token)


def records_of(sources: Sequence[Any]) -> list[Record]:
    """Return a record of each file and dataset that a user named, by their names as they were given.

    What was fetched, as from an address or standard input, is that noted by `noting_fetched_files`.
    """
    noted, found = _fetched.get() or {}, []
    for source in sources:
        name = named_source(source)
        if name in noted:
            found += noted[name]
        elif is_plain_path(source) and Path(source).exists():
            found.append(record_of(Path(source)))
        elif _is_pattern(name):
            found += [record_of(Path(path)) for path in sorted(glob.glob(name))]
        else:
            found.append({"name": name})
    return found if len(found) <= MOST_LISTED else [_combined(found)]


def record_of(path: Path) -> Record:
    """Return the name, size [bytes] and SHA-256 of a file; of a dataset those of its names, sizes and metadata.

    To read a dataset whole would take minutes. A dataset's record also holds what it was made of itself.
    """
    if path.is_dir():
        return {"name": str(path), **_of_store(path)}
    return {"name": str(path), "size": path.stat().st_size, "sha256": file_digest(path)}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def status_of(record: Mapping[str, Any]) -> Status:
    """Return whether the file or dataset of a record is as it was; one without a digest was fetched, or is unknown."""
    path = Path(str(record.get("name", "")))
    kind = "structure" if "structure" in record else "sha256"
    if record.get("fetched") or record.get("count") or kind not in record or not is_plain_path(record["name"]):
        return "not looked at"
    if not (path.is_file() or (path / ".zgroup").is_file()):  # no device, no folder of anything
        return "not there"
    try:
        now = record_of(path)
    except OSError:
        return "not there"
    return "unchanged" if now.get(kind) == record[kind] else "changed"


def recorded(text: str | None) -> list[Record]:
    """Return the records of the attribute; those of several datasets stand behind each other, joined by semicolons."""
    found: list[Record] = []
    decoder, text = json.JSONDecoder(), (text or "").strip()
    while text:
        try:
            records, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return found
        kept = records if isinstance(records, list) else []
        found += [record for record in kept if isinstance(record, dict) and isinstance(record.get("name"), str)]
        text = text[end:].lstrip("; ")
    return found


def as_attribute(records: Sequence[Record]) -> dict[str, str]:
    """Return the attribute for data made of these files; none of no files."""
    return {ATTRIBUTE: json.dumps(list(records))} if records else {}


def named_in(config: Any, left_out: Sequence[str] = ()) -> list[str]:
    """Return the files that the texts of a configuration name, but for those left out."""
    if isinstance(config, Mapping):
        return [name for value in config.values() for name in named_in(value, left_out)]
    if isinstance(config, list):
        return [name for value in config for name in named_in(value, left_out)]
    there = isinstance(config, str) and config not in ("", *left_out) and Path(config).is_file()
    return [config] if there else []


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and "://" not in name and not name.endswith((".yaml", ".yml"))


def _of_store(folder: Path) -> Record:
    digest, size = hashlib.sha256(), 0
    attributes: Mapping[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        length = path.stat().st_size
        size += length
        digest.update(f"{path.relative_to(folder).as_posix()} {length}\n".encode())
        if path.name in (".zattrs", ".zarray", ".zgroup", ".zmetadata"):
            digest.update(path.read_bytes())
    with suppress(OSError, ValueError):
        attributes = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
    made_of = recorded(str(attributes.get(ATTRIBUTE, "")))
    return {"size": size, "structure": digest.hexdigest(), **({"made_of": made_of} if made_of else {})}


def _combined(records: Sequence[Record]) -> Record:
    lines = "".join(f"{record.get('sha256') or record.get('structure')}  {record['name']}\n" for record in records)
    return {
        "name": f"{len(records)} files, {records[0]['name']} to {records[-1]['name']}",
        "count": len(records),
        "size": sum(record.get("size", 0) for record in records),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }
