"""The chain from a forecast to the files that its emulator learned from, with what of it is still as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emulator.build import load_emulator
from emulator.checkpoint import fingerprint_of
from emulator.data.forecast import Forecast
from emulator.foundation.configuration import load
from emulator.foundation.lineage import ATTRIBUTE, Record, recorded, status_of
from emulator.foundation.typed_json import typed_json
from graphs.errors import MeshcastError
from training.experiment import DataConfig
from training.preparation.prepared import fingerprint

DEEPEST = 20  # datasets made of datasets


@dataclass(frozen=True)
class Link:
    """One thing that others were made of.

    link: what it is to them: emulator, run, training data, source file of ... name: where it was.
    digest: of it, by which it is known again. status: how it is today.
    about: what else is known of it.
    """

    link: str
    name: str
    digest: str = ""
    status: str = "not looked at"
    about: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        digest = f", {self.digest[:16]}" if self.digest else ""
        about = "".join(f", {name} {value}" for name, value in self.about.items())
        return f"{self.name}{digest}: {self.status}{about}"

    def as_plain(self) -> dict[str, Any]:
        """Return the link in plain types."""
        return {name: value for name, value in asdict(self).items() if value not in ("", {})}


def lineage_of_forecast(forecast: Forecast) -> list[Link]:
    """Return the links from a forecast to the files that it and its emulator were made of.

    Where the emulator is no longer there, or another stands in its place, the forecast itself says of the run what it
    knows: its configuration and the fingerprint of its data.
    """
    attributes = forecast.attributes
    known = _known(attributes.get("lineage"))
    emulator, inputs = _section(known, "emulator"), _section(known, "inputs")
    file, digest = str(emulator.get("file", "")), str(emulator.get("digest", ""))
    status, links = _of_emulator(file, digest)
    links = [Link("emulator", file or forecast.name, digest, status), *links]
    if status != "unchanged":
        experiment = _known(attributes.get("training"))
        links += _run(experiment, {}, forecast.attributes.get("validation_score"))
        links += _training_data(experiment, "", attributes.get("training_fingerprint", ""), [])
    for use, records in inputs.items():
        links += _files(f"{use} data" if use == "initial" else use, recorded(json.dumps(records)))
    if not inputs:
        links += _files("initial data", recorded(attributes.get(ATTRIBUTE)))
    return links


def lineage_of_emulator(path: Path) -> list[Link]:
    """Return the links from an emulator to the files that its training data were made of."""
    metadata = load_emulator(path).metadata
    experiment, data = _section(metadata, "experiment"), _section(metadata, "dataset")
    made_of = recorded(str(_section(data, "attributes").get(ATTRIBUTE, "")))
    return [
        Link("emulator", str(path), fingerprint_of(path), "unchanged"),
        *_run(experiment, metadata, metadata.get("validation_score")),
        *_training_data(experiment, data.get("source", ""), data.get("fingerprint", ""), made_of),
    ]


def lineage_of_dataset(attributes: Mapping[str, str]) -> list[Link]:
    """Return the links from data to the files that they were made of, or the simulation that made them."""
    links = _files("source file", recorded(attributes.get(ATTRIBUTE)))
    if simulation := attributes.get("simulation"):
        links.insert(0, Link("simulation", attributes.get("title", "simulated"), _hash_of(simulation)))
    return links


def _run(experiment: Mapping[str, Any], metadata: Mapping[str, Any], score: Any) -> list[Link]:
    if not experiment:
        return []
    about = {"commit": metadata.get("commit"), "updates": metadata.get("update"), "validation score": score}
    versions = {name: version for name, version in _section(metadata, "versions").items() if version != "absent"}
    about = {name: value for name, value in about.items() if value is not None} | versions
    return [Link("run", str(experiment.get("name", "")), _hash_of(experiment), "not looked at", about)]


def _training_data(experiment: Mapping[str, Any], source: str, known: str, made_of: Sequence[Record]) -> list[Link]:
    data = _section(experiment, "data")
    source = source or json.dumps(_section(data, "train").get("source", "unknown"))
    link = Link("training data", str(source), str(known), *_compared(data, str(known)))
    return [link, *_files("source file", made_of)]


def _compared(data: Mapping[str, Any], known: str) -> tuple[str, dict[str, str]]:
    """Return whether the training data still have the fingerprint that is known, and why that cannot be said.

    Nothing is fetched: an address within a file is no wish of the user's.
    """
    if not known or not data:
        return "not looked at", {}
    if "://" in json.dumps(data):
        return "not looked at", {"because": "its configuration names an address"}
    try:
        part = load(DataConfig, data).train
        if absent := [name for name in _named(part.source) if not Path(name).exists()]:
            return "not there", {"because": f"there is no {', '.join(absent)}"}
        return "unchanged" if fingerprint(part.open(keep_in_memory=False)) == known else "changed", {}
    except MeshcastError as error:
        return "not there", {"because": str(error).split("\n", 1)[0]}


def _named(source: Any) -> list[str]:
    """Return the files and datasets of a source, as far as they look like paths within what anemoi-datasets opens."""
    if isinstance(source, str):
        return [source]
    nested = source.values() if isinstance(source, Mapping) else source if isinstance(source, list | tuple) else ()
    return [path for value in nested for path in _named(value) if Path(path).suffix in (".zarr", ".zip") or "/" in path]


def _files(link: str, records: Sequence[Record], depth: int = 0) -> list[Link]:
    found = []
    for record in records:
        digest = record.get("sha256") or record.get("structure") or ""
        about = {"bytes": record["size"]} if "size" in record else {}
        found.append(Link(link, str(record["name"]), str(digest), status_of(record), about))
        made_of = recorded(json.dumps(record.get("made_of", [])))
        if depth < DEEPEST:
            found += _files(f"source file of {Path(str(record['name'])).name}", made_of, depth + 1)
    return found


def _of_emulator(file: str, digest: str) -> tuple[str, list[Link]]:
    """Return whether an emulator's file is as it was, and what then follows from it."""
    if not file or not digest:
        return "not looked at", []
    if not Path(file).is_file():
        return "not there", []
    try:
        if fingerprint_of(file) == digest:
            return "unchanged", lineage_of_emulator(Path(file))[1:]
    except MeshcastError:  # damaged, or altered
        pass
    return "changed", []


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _known(text: str | None) -> dict[str, Any]:
    try:
        found: dict[str, Any] = typed_json(dict[str, Any], text or "{}")
    except ValueError:  # no JSON, or no names and values
        return {}
    return found


def _hash_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
