"""Checkpoints: named arrays and a description of themselves in one safetensors file that executes nothing.

The file's header (https://huggingface.co/docs/safetensors) holds the format version, JSON metadata and a digest of all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError

FORMAT_VERSION = 1
Array = Tensor | NDArray[Any]


def save(path: str | Path, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write named arrays and JSON metadata, whole or not at all. Raises MeshcastError where that is impossible."""
    from safetensors.torch import save as to_bytes

    tensors = {name: _as_tensor(array) for name, array in arrays.items()}
    text = json.dumps(metadata)
    header = {"meshcast_format": str(FORMAT_VERSION), "metadata": text, "fingerprint": _digest(tensors, text)}
    with atomic_file(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, metadata=header))


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the arrays, on the CPU, and the metadata of a checkpoint.

    Raises MeshcastError where the file is absent, truncated, altered, of another program or of a newer format.
    """
    tensors, header = _read_whole(Path(path))
    if "meshcast_format" not in header:
        raise MeshcastError(
            f"{path} is a safetensors file, but not a Meshcast checkpoint (its header names no meshcast_format). "
            "Give the emulator.safetensors of a run."
        )
    version = header["meshcast_format"]
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise MeshcastError(
            f"{path} has checkpoint format {version}, but this Meshcast reads up to {FORMAT_VERSION}. Upgrade Meshcast."
        )
    text = header.get("metadata", "")
    if header.get("fingerprint") != _digest(tensors, text):
        raise MeshcastError(
            f"{path} was altered since it was written: its contents do not match their digest. Copy it again."
        )
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MeshcastError(f"{path} has metadata that is not JSON: {error}") from None
    return tensors, metadata


def fingerprint_of(path: str | Path) -> str:
    """Return the digest that an emulator's file, or that in a run folder, says its contents have."""
    path = Path(path) / "emulator.safetensors" if Path(path).is_dir() else Path(path)
    return _read_whole(path)[1].get("fingerprint", "")


def arrays_under(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _as_tensor(array: Array) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array.detach().cpu()
    return tensor.clone(memory_format=torch.contiguous_format).reshape(array.shape)  # no two names share memory


def _digest(tensors: Mapping[str, Tensor], metadata: str) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_whole(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        came = "a folder" if path.is_dir() else "nothing"
        raise MeshcastError(f"Expected a checkpoint at {path}, but found {came}. Give an emulator.safetensors.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise MeshcastError(
            f"{path} is no readable checkpoint: {error}. It is truncated, corrupted or of another format; only "
            "safetensors files that Meshcast wrote are read, and pickles never are."
        ) from None
