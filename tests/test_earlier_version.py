"""What users of version 0.1 have on their disks loads, resumes and gives the figures it gave.

tests/fixtures/version_0_1 is a working directory of that version; tests/fixtures/make_version_0_1.py made it.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from emulator.checkpoint import read
from emulator.foundation.configuration import dump, load
from emulator.plugins import load_plugins
from tests.meshcast.command_line import done, meshcast
from training.comparison import compare
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.runs.study import Run, progress_of, run_study

STORED = Path(__file__).parent / "fixtures" / "version_0_1"
RING = ("--initial", "data/ring.npy", "--trajectories", "6:8", "--init-times", "0", "--lead-time", "6 steps")
SPHERE = ("--initial", "data/sphere.zarr", "--trajectories", "3:4", "--init-times", "2000-01-02T06")


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is a copy of the earlier version's."""
    shutil.copytree(STORED, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    shutil.unpack_archive("data/sphere.zarr.zip", "data/sphere.zarr")
    return tmp_path / "world"


def test_a_finished_run_is_not_repeated() -> None:
    before = Path("runs/ring/emulator.safetensors").stat().st_mtime_ns
    outcome = done("train", "ring.yaml", "resume=auto", "--json")
    assert outcome.json["validation_score"] == pytest.approx(_log("runs/ring")[-1]["validation_score"], rel=1e-6)
    assert Path("runs/ring/emulator.safetensors").stat().st_mtime_ns == before


def test_a_run_trained_again_gives_the_same_figures() -> None:
    done("train", "ring.yaml", "name=again")
    _same_log("runs/again", "runs/ring")
    _same_weights("runs/again", "runs/ring")


def test_an_interrupted_run_resumes() -> None:
    assert not Path("runs/interrupted/done.json").exists()
    done("train", "ring.yaml", "name=interrupted", "resume=auto")
    _same_log("runs/interrupted", "runs/ring")
    _same_weights("runs/interrupted", "runs/ring")


def test_a_network_with_departures_and_conservation_trains_the_same_on_a_sphere() -> None:
    done("train", "sphere.yaml", "name=again")
    _same_log("runs/again", "runs/sphere")
    _same_weights("runs/again", "runs/sphere")


@pytest.mark.parametrize(("run", "options"), [("ring", RING), ("sphere", (*SPHERE, "--lead-time", "1d"))])
def test_an_emulator_forecasts_as_it_did(run: str, options: tuple[str, ...]) -> None:
    done("forecast", f"runs/{run}", *options, "--output", "again.nc")
    _same_forecast("again.nc", f"{run}.nc")


def test_a_forecast_that_was_interrupted_resumes() -> None:
    done("forecast", "runs/ring", *RING, "--output", "partial.nc", "--resume")
    _same_forecast("partial.nc", "ring.nc")


def test_a_forecast_file_has_the_scores_it_had() -> None:
    now = done("verify", "ring.nc", "--truth", "data/ring.npy", "--output", "again", "--json").json
    then = json.loads(Path("scores/scores.json").read_text())
    assert now["emulators"].keys() == then["emulators"].keys()
    for label, scores in then["emulators"].items():
        for metric, by_variable in scores["metrics"].items():
            for estimate, values in by_variable["u"].items():
                found = now["emulators"][label]["metrics"][metric]["u"][estimate]
                assert _numbers(found) == pytest.approx(_numbers(values), rel=1e-5, abs=1e-7, nan_ok=True), metric


def test_every_finished_run_of_a_study_counts_as_finished() -> None:
    load_plugins([Path("plugin.py")])
    results = [json.loads(path.read_text()) for path in sorted(Path("results").glob("*.json"))]
    runs = [Run(result["label"], load(ExperimentConfig, result["config"]), result["seed"]) for result in results]
    found = progress_of(runs, "results", PreparedData())
    assert [progress.result.hash if progress.result else None for progress in found] == [r["hash"] for r in results]


def test_an_interrupted_run_of_a_study_resumes() -> None:
    expected = json.loads(Path("runs/ablation-of-two-seeds/expected.json").read_text())
    (row,) = (row["result"] for row in expected["rows"] if row["label"] == "GNN, processor.kind=kernel (seed 1)")
    experiment = replace(load(ExperimentConfig, row["config"]), name="ablation-of-two-seeds", output="runs")
    run = Run(row["label"], experiment, row["seed"])
    (progress,) = progress_of([run], "results", PreparedData())
    assert (progress.result, progress.updates) == (None, 4)
    (result,) = run_study([run], "results", progress=False)
    assert (result.hash, result.update) == (row["hash"], row["update"])
    assert result.validation_score == pytest.approx(row["validation_score"], rel=1e-6)


@pytest.mark.parametrize("name", ["comparison", "ablation"])
def test_a_comparison_is_taken_over_by_pasting_the_lines_its_message_gives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "write_comparison", lambda *given, **named: None)  # its pictures take half a minute
    load_plugins([Path("plugin.py")])
    stored = json.loads(Path(f"runs/{name}/comparison.json").read_text())
    outcome = meshcast("compare", f"{name}.yaml", "--plugin", "plugin.py", "--dry-run")
    assert outcome.code == 2 and "write\n" in outcome.err
    head = yaml.safe_load(Path(f"{name}.yaml").read_text())
    tables = ("emulators", "own_history", "own_training", "keep_size", "grid", "grid_of")
    rows = yaml.safe_load(outcome.err.split("write\n")[1])
    dump({key: value for key, value in head.items() if key not in tables} | rows, "pasted.yaml")

    left = done("compare", "pasted.yaml", "--plugin", "plugin.py", "--dry-run", "--json").json
    assert left["left"] == 0 and left["runs"] >= len(stored["rows"])
    now = done("compare", "pasted.yaml", "--plugin", "plugin.py", "--json").json
    for key in ("score", "median"):
        then = {line["label"]: line[key] for line in stored["lines"]}
        assert {line["label"]: line[key] for line in now["lines"]} == pytest.approx(then, rel=1e-5), key
    for label, by_variable in stored["rmse"].items():
        for estimate, values in by_variable["u"].items():
            found = now["rmse"][label]["u"][estimate]
            assert _numbers(found) == pytest.approx(_numbers(values), rel=1e-4, abs=1e-7, nan_ok=True), (
                label,
                estimate,
            )


@pytest.mark.parametrize("row", ["CNN", "LSTM", "ridge", "plug-in"])
def test_a_row_of_a_finished_comparison_is_reproduced(row: str) -> None:
    outcome = done("reproduce", "runs/comparison", "--row", row, "--plugin", "plugin.py", "--json").json
    assert outcome["score"] == pytest.approx(outcome["published"], rel=1e-5)
    assert outcome["inside"]  # to the bit, `same_weights`, on the kind of processor alone on which it was made


def _log(run: str) -> list[dict[str, float]]:
    """The rows of a run's log at which the emulator was validated."""
    with open(Path(run) / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value or "nan") for key, value in row.items()} for row in rows if row["validation_score"]]


def _same_log(one: str, other: str) -> None:
    now, then = _log(one), _log(other)
    assert [row["update"] for row in now] == [row["update"] for row in then]
    for name in ("validation_loss", "validation_score", "learning_rate"):
        assert [row[name] for row in now] == pytest.approx([row[name] for row in then], rel=1e-5), name


LATER = ("smallest_spatial", "largest_spatial", "mean_field")  # statistics that version 0.1 did not keep


def _same_weights(one: str, other: str) -> None:
    """Where a gradient is zero but for rounding, as that of a bias that the conserved mean takes back, AdamW steps by
    its sign, which another maker's processor may round to the other one: a few hundredths of a learning rate."""
    (now, _), (then, _) = (read(Path(run) / "emulator.safetensors")[:2] for run in (one, other))
    assert now.keys() - then.keys() <= {f"statistics.{name}_std" for name in LATER} and then.keys() <= now.keys()
    for name in then:
        np.testing.assert_allclose(now[name].numpy(), then[name].numpy(), rtol=1e-5, atol=2e-4, err_msg=name)


def _same_forecast(one: str, other: str) -> None:
    with xr.open_dataset(one) as now, xr.open_dataset(other) as then:
        assert now.sizes == then.sizes
        for name in then.data_vars:
            if then[name].dtype.kind == "f":
                np.testing.assert_allclose(now[name], then[name], rtol=1e-5, err_msg=str(name))


def _numbers(values: Any) -> list[float]:
    return [np.nan if value is None else value for value in np.ravel(values)]
