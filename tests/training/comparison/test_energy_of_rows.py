"""The energy of a comparison's rows: trials and seeds together, with what nobody counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from inference.comparison.record import Row, Seed
from tests.training.comparisons import config_in, write_source
from training.accounting import AccountingConfig
from training.comparison.methods import with_energy
from training.runs.energy import Part, write_energy
from training.runs.study import Result


def result(folder: str) -> Result:
    return Result(folder, folder, 0, "done", folder, {}, {})


def part(method: str, kwh: float, left_out: tuple[str, ...] = ()) -> Part:
    return Part("2026-01-01T00:00:00+00:00", 1.0, 1.0, "a processor", method, kwh, left_out=left_out)


def test_a_row_sums_its_trials_and_seeds_at_the_comparisons_own_rates(tmp_path: Path) -> None:
    accounting = AccountingConfig(carbon_intensity=100.0)
    config = replace(config_in(tmp_path, write_source(tmp_path)), accounting=accounting)
    dearer = AccountingConfig(carbon_intensity=900.0, price=1.0)  # of when the runs were made
    folders = {name: tmp_path / "results" / name for name in ("trial", "seed 0", "seed 1", "other")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    write_energy(folders["trial"], [part("estimated", 0.25)], dearer)
    write_energy(folders["seed 0"], [part("measured", 1.0), part("measured", 0.5)], dearer)
    write_energy(folders["other"], [part("measured", 8.0, ("the GPU",))], dearer)
    fits = [("network", result(name)) for name in ("trial", "seed 0", "seed 1")] + [("ridge", result("other"))]
    rows = [Row(label, "gnn", (Seed(label, "done"),)) for label in ("network", "ridge", "a file")]
    network, ridge, file = (row.energy for row in with_energy(rows, fits, config))
    assert network is not None and ridge is not None and file is None
    assert network.kwh == pytest.approx(1.75) and network.grams_co2 == pytest.approx(175.0) and network.cost is None
    assert network.method == "measured and estimated" and network.uncounted == 1  # seed 1
    assert ridge.kwh == 8.0 and ridge.method == "measured" and ridge.uncounted == 1  # its GPU
