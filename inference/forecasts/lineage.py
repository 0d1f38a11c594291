"""What a forecast was made of: its emulator, and the files that it started from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from emulator.build import TrainedEmulator
from emulator.checkpoint import fingerprint_of
from emulator.foundation.lineage import records_of


def lineage_of(path: Path, trained: TrainedEmulator, **inputs: Sequence[str]) -> dict[str, str]:
    """Return the attribute `lineage` of a forecast: JSON of its emulator's digest, and of records of files by use.

    path: of the emulator or its run folder. inputs: the files and datasets that were named, by their use.
    """
    file = path / "emulator.safetensors" if path.is_dir() else path
    given = {use: [name for name in names if name] for use, names in inputs.items()}
    found = {
        "emulator": {"name": trained.name, "file": str(file), "digest": fingerprint_of(file)},
        "inputs": {use: records_of(names) for use, names in given.items() if names},
    }
    return {"lineage": json.dumps(found)}
