"""JSON files that carry a digest of their content, so that a damaged or edited one is not taken for what was found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphs.atomic_file import write_text
from graphs.errors import MeshcastError

DIGEST = "digest"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping with the digest of it, whole or not at all."""
    write_text(path, json.dumps({**content, DIGEST: _digest_of(content)}, indent=1) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return what `write_json` wrote, without the digest, which files of version 0.1 lack.

    remedy: what to do where the file cannot be used, which a MeshcastError then says.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__} where names and values belong")
    except (OSError, ValueError, RecursionError) as error:
        raise MeshcastError(f"{path} is damaged: {error}. {remedy}") from None
    digest = content.pop(DIGEST, None)
    if digest is not None and digest != _digest_of(content):
        raise MeshcastError(f"{path} was changed since it was written: its content does not match its digest. {remedy}")
    return content


def _digest_of(content: Mapping[str, Any]) -> str:
    # Through text and back, so that what is written and what is read are compared in the same types.
    return hashlib.sha256(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()).hexdigest()[:32]
