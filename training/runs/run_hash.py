"""What the numbers of a run depend on, in a few digits: its configuration, the data's content, a plug-in's source."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

from emulator.foundation.configuration import resolve
from emulator.plugins import PluginConfig, find_plugin
from graphs.errors import MeshcastError
from training.experiment import DataConfig, ExperimentConfig
from training.preparation.prepared import fingerprint

PLACES = ("name", "output", "tracking")  # keys of an experiment that say where its files go, and change no number


def run_hash(experiment: ExperimentConfig, data: dict[str, str]) -> str:
    """Of an experiment with its seed, 16 hexadecimal digits: equal for equal science, wherever it is put.

    data: fingerprints of the parts.
    """
    config = {key: value for key, value in resolve(experiment).items() if key not in PLACES}
    content = [{**config, "data": data}, _plugin_source(experiment)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Fingerprints:
    """Fingerprints of data parts, each taken once however many runs share it."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def of(self, data: DataConfig) -> dict[str, str]:
        parts = {"train": data.train, "validation": data.validation}
        tables = {  # by number, since a hash must not tell where a table lies
            f"forcing table {number}": hashlib.sha256(_bytes_of(table)).hexdigest()[:16]
            for number, table in enumerate(data.forcing_tables)
        }
        for part in parts.values():
            text = json.dumps(resolve(part))
            if text not in self._found:
                self._found[text] = fingerprint(part.open())
        return {name: self._found[json.dumps(resolve(part))] for name, part in parts.items()} | tables


def _plugin_source(config: ExperimentConfig) -> str:
    """The text of a plug-in's file, which its numbers depend on; empty for our own emulators."""
    if not isinstance(config.emulator, PluginConfig):
        return ""
    try:
        return Path(inspect.getfile(find_plugin(config.emulator.name))).read_text(encoding="utf-8")
    except (OSError, TypeError):  # made in memory
        return ""


def _bytes_of(table: str) -> bytes:
    try:
        return Path(table).read_bytes()
    except OSError as error:
        raise MeshcastError(f"Cannot read the forcing table {table}: {error.strerror}.") from None
