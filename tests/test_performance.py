"""The benchmark of `make bench` measures what it says, and its page is made of its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emulator.networks import gnn
from emulator.networks.gnn import GNNConfig

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/performance.md"


@pytest.fixture
def performance(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import performance

    return performance


@pytest.fixture
def page(performance: ModuleType) -> ModuleType:
    import performance_page

    return performance_page


def test_a_quick_run_gives_a_row_for_every_rival_and_a_page(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/performance.py"), "--quick", "--seconds", "0.1"]
    command += ["--sections", "layers", "members", "--names", "kernel messages", "U-Net"]
    command += ["--output", str(tmp_path / "cpu.json"), "--page", str(tmp_path / "page.md")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    result = json.loads((tmp_path / "cpu.json").read_text())
    assert set(result) == {"about", "layers", "members"}
    found = {(row["name"], row["precision"], row["pass"]) for row in result["layers"]}
    assert found == {
        ("kernel messages", precision, what)
        for precision in ("float32", "bfloat16")
        for what in ("forward", "training")
    }
    assert {(row["name"], row["members"]) for row in result["members"]} == {
        (name, count) for name in ("kernel messages", "U-Net") for count in (1, 16, 50)
    }
    for row in result["layers"] + result["members"]:
        assert 0 < row["low"] <= row["ms"] <= row["high"] and row["rounds"] >= 3
    kept = {row["precision"]: row["saved_mb"] for row in result["layers"] if row["pass"] == "training"}
    assert 0.4 * kept["float32"] < kept["bfloat16"] < 0.7 * kept["float32"]
    text = (tmp_path / "page.md").read_text()
    assert "| one layer of messages | quick | not run |" in text and "| reading | not run | - |" in text
    assert text.count("| 3 | kernel messages | ") == 2 and "*GPU*: not run." in text


def test_a_layer_is_timed_on_the_whole_batch_whatever_a_cache_holds(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gnn.CACHED_NUMBERS, False, 0)
    bench = performance.Bench("cpu", [2], [16], performance.RIVALS[:1], 1e9, 0.1)
    emulator = bench._emulator(performance.RIVALS[0], 2, 16, num_layers=1)
    layer = performance.handed(emulator.network, bench._forecast_run(emulator, "float32", 4))
    assert [one.shape for one in layer.inputs[1:]] == [(162, 4, 16)] * 2


def test_sections_of_an_earlier_run_are_kept_where_they_hold_for_the_same(
    performance: ModuleType, tmp_path: Path
) -> None:
    output, about = tmp_path / "cpu.json", {"device": "a chip", "quick": False}
    assert performance.kept_from(None, about) == performance.kept_from(output, about) == {"about": about}
    output.write_text(json.dumps({"about": about, "reading": [1]}))
    assert performance.kept_from(output, about) == {"about": about, "reading": [1]}
    assert performance.kept_from(output, {**about, "quick": True}) == {"about": {**about, "quick": True}}


def test_the_slope_is_the_exponent_of_the_nodes(performance: ModuleType) -> None:
    rows = [
        {
            "level": level,
            "nodes": nodes,
            "precision": "float32",
            "pass": "training",
            "ms": 3 * nodes**1.2,
            "peak_mb": nodes,
        }
        for level, nodes in ((4, 1), (5, 1_000), (6, 4_000), (7, 16_000))
    ]
    (found,) = performance.slopes(rows)
    assert (found["time"], found["memory"], found["levels"]) == (1.2, 1.0, [5, 7])
    assert performance.slopes(rows[:2]) == []  # of one point there is none


def test_a_network_of_equal_weights_has_nearly_those_of_the_default(performance: ModuleType) -> None:
    default, unet = performance.RIVALS[0], performance.RIVALS[-1]
    assert isinstance(default.config(3, 32, 6), GNNConfig) and unet.equal_weights
    bench = performance.Bench("cpu", [3], [32], performance.RIVALS, 1e9, 0.1)
    first, second = (sum(w.numel() for w in bench._emulator(one, 3, 32).parameters()) for one in (default, unet))
    assert abs(first - second) < 0.1 * first


def test_the_peak_of_memory_is_what_a_run_takes(performance: ModuleType) -> None:
    import torch

    bench = performance.Bench("cpu", [3], [32], performance.RIVALS, 1e9, 0.1)
    taken = bench._peak_mb(lambda: torch.ones(25_000_000))
    if taken is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    assert 95 < taken < 130


def test_both_devices_stand_on_the_page_where_both_have_run(page: ModuleType, tmp_path: Path) -> None:
    about = {
        "device": "a chip",
        "threads": 1,
        "cores": 2,
        "fast_in_bfloat16": True,
        "quick": False,
        "versions": {"torch": "3"},
    }
    row = {"level": 3, "members": 1, "name": "one", "weights": 5_000, "precision": "float32", "ms": 1234.5}
    row |= {"low": 1200.0, "high": 0.012345}
    result: dict[str, Any] = {"about": about, "members": [row]}
    page.write_page(tmp_path / "page.md", {"cpu": result, "cuda": result})
    text = (tmp_path / "page.md").read_text()
    assert "| machine | a chip, 1 of 2 cores, with bfloat16 | a chip, 1 of 2 cores, with bfloat16 |" in text
    assert "| members of one forecast | run | run |" in text
    assert text.count("| 3 | one | 5 | float32 | 1,234 (1,200-0.0123) |") == 2


def test_the_page_is_that_of_the_results(page: ModuleType, tmp_path: Path) -> None:
    results = {path.stem: json.loads(path.read_text()) for path in (ROOT / "results/performance").glob("*.json")}
    assert "cpu" in results
    page.write_page(tmp_path / "page.md", results)
    assert (tmp_path / "page.md").read_text() == PAGE.read_text()
