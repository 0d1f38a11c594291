"""An ablation grid becomes rows, each with its settings in its label."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from tests.training.comparisons import config_in, study_runs, write_source
from training.comparison.runs import expanded, experiments


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def test_every_combination_is_a_row_in_place_of_the_plain_one(source: Path, tmp_path: Path) -> None:
    grid = "rows.gnn.grid={processor.num_layers: [1, 2], training.noise: [0.0, 0.01]}"
    config = config_in(tmp_path, source, grid, "rows.gnn.training={updates: 7}", "rows.gnn.keep_size=true")
    rows = expanded(config)
    first = ["gnn, processor.num_layers=1, training.noise=0", "gnn, processor.num_layers=1, training.noise=0.01"]
    assert list(rows.rows)[:2] == first and "gnn" not in rows.rows
    assert list(rows.rows)[4:] == ["ridge", "convolution", "spectral"]
    planned = experiments(rows)
    last = planned["gnn, processor.num_layers=2, training.noise=0.01"]
    assert (last.emulator.processor.num_layers, last.emulator.processor.latent_size) == (2, 8)  # type: ignore[union-attr]
    assert (last.training.noise, last.training.updates) == (0.01, 7)
    assert [label for label, row in rows.rows.items() if row.keep_size] == list(rows.rows)[:4]
    assert len(study_runs(config)) == 4 * 2 + 1 + 2 + 1 + 1


def test_the_grid_of_another_row_and_of_whole_sections(source: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path, source, "rows.ridge.grid={radii: [[1], [2, 3]]}")
    assert list(expanded(config).rows)[:3] == ["gnn", "ridge, radii=[1]", "ridge, radii=[2, 3]"]
    with pytest.raises(MeshcastError, match="a combination twice"):
        expanded(config_in(tmp_path, source, "rows.ridge.grid={radii: [[1], [1]]}"))
