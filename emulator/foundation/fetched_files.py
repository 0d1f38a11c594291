"""What a user names as a file brought onto this machine: standard input, addresses, patterns, requests, open fields.

Only what the user names is fetched; an address inside a file never is.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from emulator.foundation.configuration import read_yaml
from graphs.available_memory import readable
from graphs.errors import MeshcastError

ENDS = 2**20  # bytes
TIMEOUT = 60  # seconds without an answer
# what is told of every source that was fetched or expanded, and of its files while they are there
WATCHERS: ContextVar[tuple[Callable[[Any, Sequence[Path]], None], ...]] = ContextVar("watchers", default=())
ARCHIVES = {  # earthkit's sources that a request may name, and the client each needs: (module, package)
    "mars": None, "cds": ("cdsapi", "cdsapi"), "ads": ("cdsapi", "cdsapi"), "wekeo": ("hda", "hda"),
    "ecmwf-open-data": ("ecmwf.opendata", "ecmwf-opendata"), "opendap": None, "file-pattern": None,
    "url": None, "url-pattern": None, "s3": ("boto3", "boto3"),
}  # fmt: skip


@contextmanager
def local_files(sources: Any) -> Iterator[list[Path]]:
    """Yield files on this machine for what a user names; those that were fetched are removed afterwards.

    sources: one or several of: a path; `-`, standard input; a pattern such as `era5-*.grib`; an address, `https://...`
        or `s3://...`; a request, a YAML file whose `source` is one of earthkit's (mars, cds, ...) and whose other keys
        are its arguments; an earthkit FieldList; an xarray Dataset.

    Raises MeshcastError where something cannot be fetched, or its client or credentials are missing.
    """
    listed = list(sources) if isinstance(sources, (list, tuple)) else [sources]
    with ExitStack() as stack:
        files: list[Path] = []
        folder: Path | None = None
        for number, source in enumerate(listed):
            if is_plain_path(source):
                files.append(Path(source))
                continue
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshcast-")))
            below = folder / str(number)
            below.mkdir()
            fetched = _fetched(source, below)
            for watcher in WATCHERS.get():
                watcher(source, fetched)
            files += fetched
        yield files


def digest_of_files(files: Sequence[Path], options: Any) -> str:
    """Return a digest of files and options, by which the same command is known again.

    Of each file its length, the time it was changed, and its first and last megabyte count; of a folder all its files.
    """
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    for path in files:
        below = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in below:
            about = file.stat()
            digest.update(f"{os.path.abspath(file)} {about.st_size} {about.st_mtime_ns} ".encode())
        if path.is_file():
            with path.open("rb") as content:
                digest.update(content.read(ENDS))
                content.seek(max(0, path.stat().st_size - ENDS))
                digest.update(content.read())
    return digest.hexdigest()


def is_plain_path(source: Any) -> bool:
    """Return whether a source is a file or folder on this machine, rather than what is fetched or put into one."""
    if not isinstance(source, str | Path):
        return False
    text = str(source)
    request = text.endswith((".yaml", ".yml"))
    return not (text == "-" or "://" in text or request) and (Path(text).exists() or not glob.has_magic(text))


def files_here(sources: Sequence[Any]) -> list[Path] | None:
    """Return the files that paths and patterns name, None where something is no file on this machine."""
    files: list[Path] = []
    for source in sources:
        if is_plain_path(source):
            files.append(Path(source))
        elif isinstance(source, str | Path) and "://" not in str(source) and (found := glob.glob(str(source))):
            files += sorted(Path(name) for name in found)
        else:
            return None
    return files


def named_source(source: Any) -> str:
    """Return what a user named, for messages."""
    if isinstance(source, str | Path):
        return "standard input" if str(source) == "-" else str(source)
    return f"a {type(source).__name__} in memory"


def restored_address(path: str | Path) -> str:
    """Return an address that was taken for a path, and lost a slash, as it was written."""
    scheme, colon, rest = str(path).partition(":/")
    known = scheme in ("http", "https", "s3", "gs", "ftp", "file") and colon and not rest.startswith("/")
    return f"{scheme}://{rest}" if known else str(path)


def _fetched(source: Any, folder: Path) -> Sequence[Path]:
    if not isinstance(source, str | Path):
        return [_of_object(source, folder)]
    text = str(source)
    if text == "-":
        return [_of_standard_input(folder)]
    if "://" in text:
        return [_of_address(text, folder)]
    if text.endswith((".yaml", ".yml")):
        return [_of_request(text, folder)]
    found = sorted(Path(name) for name in glob.glob(text))
    if not found:
        raise MeshcastError(f"No file is named like {text}.")
    return found


def _of_standard_input(folder: Path) -> Path:
    path = folder / "standard_input"
    if sys.stdin is None or sys.stdin.isatty():
        raise MeshcastError("`-` reads GRIB or NetCDF from standard input, but nothing is sent there. Use a pipe or <.")
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    if path.stat().st_size == 0:
        raise MeshcastError("Standard input is empty; `-` reads GRIB or NetCDF from it.")
    return path


def _of_address(address: str, folder: Path) -> Path:
    scheme, name = urlsplit(address).scheme, PurePosixPath(urlsplit(address).path).name or "fetched"
    if scheme == "s3":
        _refuse_absent("s3fs", "s3fs", f"{address} needs")
        import fsspec

        try:
            with fsspec.open(address, "rb") as remote, (folder / name).open("wb") as file:
                shutil.copyfileobj(remote, file)
        except Exception as error:  # whatever boto raises
            raise MeshcastError(f"Cannot fetch {address}: {type(error).__name__}: {error}.") from None
        return folder / name
    if scheme not in ("http", "https"):
        raise MeshcastError(f"Cannot fetch {address}: of addresses only https, http and s3 are known.")
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, (folder / name).open("wb") as file:
            shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise MeshcastError(f"Cannot fetch {address}: {getattr(error, 'reason', None) or error}.") from None
    size = (folder / name).stat().st_size
    if length is not None and length.isdecimal() and int(length) != size:
        raise MeshcastError(f"{address} broke off after {readable(size)} of {readable(int(length))}. Fetch it again.")
    return folder / name


def _of_request(path: str, folder: Path) -> Path:
    """Return the file that a request in YAML brings: `source: mars`, and the arguments of earthkit's source."""
    request = read_yaml(path)
    name = request.pop("source", None)
    if name not in ARCHIVES:
        raise MeshcastError(f"{path} must say its `source`, one of {', '.join(ARCHIVES)}, but says {name!r}.")
    if name == "url" and isinstance(request.get("url"), str):
        return _of_address(request["url"], folder)
    if (client := ARCHIVES[name]) is not None:
        _refuse_absent(*client, f"The source {name} of {path} needs")
    import earthkit.data

    try:
        return _of_object(earthkit.data.from_source(name, **request), folder)
    except MeshcastError:
        raise
    except Exception as error:  # whatever clients raise: absent credentials, refused requests, no network
        raise MeshcastError(
            f"The request {path} to {name} failed: {type(error).__name__}: {error}. Check its keys, your credentials "
            "and the network."
        ) from None


def _of_object(fields: Any, folder: Path) -> Path:
    """Return a file of an earthkit FieldList or an xarray Dataset."""
    if hasattr(fields, "data_vars"):
        fields.to_netcdf(folder / "fields.nc", engine="netcdf4")
        return folder / "fields.nc"
    if hasattr(fields, "to_target"):
        fields.to_target("file", str(folder / "fields"))
        return folder / "fields"
    raise MeshcastError(
        f"Fields are a path, an earthkit FieldList or an xarray Dataset, but {type(fields).__name__} came."
    )


def _refuse_absent(module: str, package: str, who: str) -> None:
    try:
        there = find_spec(module) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        raise MeshcastError(f"{who} the package {package}, which is not installed: pip install {package}.")
