"""Networks of a comparison come to one number of weights, but for those that keep theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from tests.training.comparisons import config_in, write_source
from training.comparison.runs import equally_large, experiments
from training.preparation.prepared import PreparedData
from training.runs.fit import fit
from training.runs.study import count_parameters

NETWORK = "{kind: gnn, node_statistics: true, processor: {num_layers: 1, latent_size: 8, hidden_size: 4}}"
ROWS = (
    f"rows={{gnn: {{emulator: {NETWORK}}}, local: {{emulator: {{kind: ffnn, width: 3, num_layers: 1}}}}, "
    "own: {emulator: {kind: ffnn, width: 3}, keep_size: true}, ridge: {emulator: {kind: ridge, radii: [1]}}}"
)


def test_widths_are_scaled_to_one_number_of_weights(tmp_path: Path) -> None:
    config = config_in(tmp_path, write_source(tmp_path), ROWS, "parameters=3000")
    planned = experiments(config)
    sized = equally_large(config, planned, PreparedData())
    assert sized["own"] == planned["own"] and sized["ridge"] == planned["ridge"]
    counts = {label: count_parameters(fit(sized[label], tmp_path / label, progress=False).emulator)["trainable"]
              for label in ("gnn", "local")}  # fmt: skip
    assert counts["local"] == 32 * (1 + 1) * 46 + 46 + 32  # the width nearest: 46 gives 3022, 45 gives 2957
    assert 2700 < counts["gnn"] < 3300
    processor = sized["gnn"].emulator.processor  # type: ignore[union-attr]
    assert processor.latent_size == 2 * processor.hidden_size


def test_a_row_that_cannot_be_scaled_is_told_how_to_stay(tmp_path: Path) -> None:
    config = config_in(tmp_path, write_source(tmp_path), "parameters=3000", "rows.gnn.keep_size=true")
    with pytest.raises(MeshcastError, match=r"convolution: .*cannot be scaled.* Or give the row keep_size: true"):
        equally_large(config, experiments(config), PreparedData())


def test_more_weights_than_memory_holds_are_refused_before_any_is_made(tmp_path: Path) -> None:
    config = config_in(tmp_path, write_source(tmp_path), ROWS, "parameters=1000000000000")
    with pytest.raises(MeshcastError, match=r"1,000,000,000,000.* parameters"):
        equally_large(config, experiments(config), PreparedData())
