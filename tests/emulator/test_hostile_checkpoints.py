"""Checkpoints whose description asks for more than the file holds are refused, quickly and without its memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from emulator.build import EmulatorSection, load_emulator
from emulator.checkpoint import read, save
from emulator.data.starts import parse_init_times, states_at
from emulator.forcings import Forcings
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from tests.emulator.worlds import weather_fields
from training.preparation.windows import Windows

RING = Path(__file__).parents[1] / "fixtures/version_0_1/runs/ring/emulator.safetensors"
Change = Callable[[dict[str, Tensor], dict[str, Any]], object]


def _set(way: str, value: Any) -> Change:
    """Return what sets one value of the metadata."""

    def change(arrays: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        *sections, last = way.split("/")
        for section in sections:
            metadata = metadata[section]
        metadata[last] = value

    return change


def _fill(name: str, value: Any) -> Change:
    return lambda arrays, metadata: arrays.update({name: torch.full_like(arrays[name], value)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("emulator/processor/num_layers", 10**9), "num_layers must be at most 1,000"),
        (_set("emulator/processor/num_layers", 900), "does not fit the file"),
        (_set("emulator/processor/latent_size", 10**12), "do not fit its configuration"),
        (_set("task/history", 10**12), "history must be 1 to 1,000,000"),
        (_set("task/history", 10**6), "does not fit the file"),
        (_set("task/time_step", '{"count": 1e400}'), "is no time step: count: Input should be a valid integer"),
        (_set("statistics", ["u", "v"]), r"statistics are of \('u', 'v'\)"),
        (_set("mesh/graphs/processor/num_senders", 10**12), "leads from 1000000000000 nodes to 24"),
        (_set("mesh/graphs/processor/num_receivers", 10**12), "leads from 24 nodes to 1000000000000"),
        (_set("mesh/graphs/processor/num_senders", "many"), "not as Meshcast writes them"),
        (_set("mesh/meshes/data/shape", [2, 3, 4]), r"shape \(2, 3, 4\)"),
        (_set("mesh/meshes/data/shape", [-2, -12]), r"shape \(-2, -12\)"),
        (_set("mesh/meshes/data/levels", [10**12]), "Levels of a mesh of 24 nodes"),
        (_fill("emulator.network.table", 24), "network.table holds other numbers than 0 to 23"),
        (_fill("emulator.network.table", -1), "network.table holds other numbers than 0 to 23"),
        (_fill("graphs.processor.edge_index", 24), "Edges name senders 24 to 24"),
        (lambda arrays, metadata: arrays.update({"valid": torch.ones(3, 1, dtype=torch.bool)}), "valid is no true"),
    ],
)
def test_what_a_checkpoint_declares_is_compared_with_what_it_holds(tmp_path: Path, change: Change, says: str) -> None:
    arrays, metadata = read(RING)
    change(arrays, metadata)
    save(tmp_path / "hostile.safetensors", arrays, metadata)
    with pytest.raises(MeshcastError, match=says):
        load_emulator(tmp_path / "hostile.safetensors")


@pytest.mark.parametrize(
    "layers", ["kind: cnn, num_layers", "kind: ffnn, num_layers", "kind: gnn, processor.num_layers"]
)
def test_layers_without_end_are_refused_with_the_configuration(layers: str) -> None:
    *_, key = layers.split(", ")
    overrides = [f"emulator={{{layers.split(', ')[0]}}}", f"emulator.{key}={10**9}"]
    with pytest.raises(MeshcastError, match=r"num_layers must be at most 1,000, but is 1,000,000,000"):
        load(EmulatorSection, {}, overrides)


def test_a_history_longer_than_the_series_is_refused_at_once() -> None:
    fields = weather_fields(30)
    task = Task((Variable("2t", "prognostic", "K"),), TimeStep.parse("1h"), history=10**6)
    with pytest.raises(MeshcastError, match=r"needs 1,000,000 fields of history, but .* has 30 times"):
        states_at(fields, task, fields.times[:1])
    with pytest.raises(MeshcastError, match="no window of 1000000 times of history"):
        Windows(fields, task, 10**12, Forcings())


def test_initial_times_without_end_are_refused_at_once() -> None:
    with pytest.raises(MeshcastError, match=r"are 255,611,203,201\. Write fewer"):
        parse_init_times("1900-01-01/9999-12-31/1s", weather_fields(30))


@pytest.mark.parametrize("duration", ["9" * 400 + " steps", "9" * 18 + " steps"])
def test_a_lead_time_without_end_is_refused(duration: str) -> None:
    with pytest.raises(MeshcastError, match="more than 1,000,000,000 steps"):
        TimeStep.parse("1h").steps_in(duration)
    with pytest.raises(MeshcastError, match="Cannot read"):
        TimeStep.parse("9" * 5000 + "h")
