"""A comparison from before a row was an object is refused with lines that, pasted, say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emulator.foundation.configuration import load, one_line
from graphs.errors import MeshcastError
from training.comparison.configuration import CompareConfig
from training.comparison.files import take_folder

HEAD = """
name: older
data: {train: {source: a.npy}, validation: {source: a.npy}, test: {source: b.npy}}
task: {prognostic: [u]}
parameters: 500
"""
OLD = """
emulators:
  ridge: {kind: ridge, radii: [1]}
  GNN: {kind: gnn, processor: {num_layers: 1}}
  "LSTM, node": {kind: lstm, scope: node}
  old: {kind: checkpoint, path: runs/old}
  theirs: {kind: forecast_file, path: theirs.nc, rename: {warmth: u}}
own_history: {"LSTM, node": 2}
own_training: {"LSTM, node": {updates: 7}}
keep_size: ["LSTM, node"]
grid: {processor.kind: [kernel, interaction]}
"""
ROWS = """
rows:
  ridge: {emulator: {kind: ridge, radii: [1]}}
  GNN: {emulator: {kind: gnn, processor: {num_layers: 1}}, grid: {processor.kind: [kernel, interaction]}}
  "LSTM, node": {emulator: {kind: lstm, scope: node}, history: 2, training: {updates: 7}, keep_size: true}
  old: {checkpoint: runs/old}
  theirs: {forecast_file: theirs.nc, rename: {warmth: u}}
"""


def lines_told(path: Path, *overrides: str) -> str:
    with pytest.raises(MeshcastError, match="In place of ") as refused:
        load(CompareConfig, path, overrides)
    return str(refused.value).split("write\n\n")[1]


@pytest.fixture
def new(tmp_path: Path) -> CompareConfig:
    (tmp_path / "new.yaml").write_text(HEAD + ROWS)
    return load(CompareConfig, tmp_path / "new.yaml")


def test_the_lines_told_replace_those_of_an_older_file(new: CompareConfig, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(HEAD + OLD)
    (tmp_path / "pasted.yaml").write_text(HEAD + lines_told(tmp_path / "old.yaml"))
    assert load(CompareConfig, tmp_path / "pasted.yaml") == new
    other = lines_told(tmp_path / "old.yaml", "grid_of=ridge", "grid={radii: [[1], [2]]}")
    assert "  ridge: {emulator: {kind: ridge, radii: [1]}, grid: {radii: [[1], [2]]}}\n" in other


def test_old_keys_and_flat_rows_are_refused_in_a_new_file_too(new: CompareConfig, tmp_path: Path) -> None:
    told = lines_told(tmp_path / "new.yaml", 'own_history={"LSTM, node": 3}')
    assert load(CompareConfig, yaml.safe_load(HEAD + told)).rows["LSTM, node"].history == 3
    assert "  GNN: {emulator: {kind: cnn}}\n" in lines_told(tmp_path / "new.yaml", "rows.GNN={kind: cnn}")
    (tmp_path / "empty.yaml").write_text(HEAD + "emulators: []")
    assert lines_told(tmp_path / "empty.yaml") == "rows:\n  LABEL: {emulator: {kind: gnn}}\n"


def test_the_folder_of_an_older_comparison_is_known_again(tmp_path: Path) -> None:
    new = load(CompareConfig, yaml.safe_load(HEAD + ROWS), [f"output={tmp_path}"])
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "compare.yaml").write_text(HEAD + OLD)
    assert take_folder(new) == tmp_path / "older"


def test_one_line_of_yaml_reads_back() -> None:
    value = {"a, b": {"c": [1.0e-3, None, "no", "2"], "d": "x: y"}, "long": "word " * 60}
    assert "\n" not in one_line(value) and yaml.safe_load(one_line(value)) == value
