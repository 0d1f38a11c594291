"""The bytes of a dataset, to compare two by."""

from __future__ import annotations

import json
from pathlib import Path

WRITTEN_WHEN = ("uuid", "latest_write_timestamp", "provenance_load")


def digests(store: str | Path) -> dict[str, bytes]:
    """Return the bytes of every file of a store, less what says when and under which name it was written."""
    store = Path(store)
    found = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    attributes = json.loads(found[".zattrs"])
    kept = {name: value for name, value in attributes.items() if name not in WRITTEN_WHEN}
    return {**found, ".zattrs": json.dumps(kept, sort_keys=True).encode()}
