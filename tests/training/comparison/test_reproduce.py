"""A published row trained again falls into its interval, or it is said that it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from graphs.errors import MeshcastError
from meshcast.commands.reproduce import reproduce as command
from tests.training.comparisons import config_in, write_source
from training.comparison.compare import compare
from training.comparison.reproduce import reproduce

CONVOLUTION = "{emulator: {kind: plugin, name: circular convolution, options: {width: 4}}}"
ROWS = f"rows={{convolution: {CONVOLUTION}, ridge: {{emulator: {{kind: ridge}}}}}}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.comparison.compare.write_comparison", lambda *given, **options: None)
        return compare(config_in(folder, write_source(folder), ROWS), progress=False).folder


def written(folder: Path) -> dict[str, object]:
    return json.loads((folder / "comparison.json").read_text())


def test_each_way_of_naming_a_run_gives_its_weights_bit_for_bit(published: Path) -> None:
    rows = {row["label"]: row for row in written(published)["rows"]}  # type: ignore[attr-defined]
    before = sorted(published.iterdir())
    first = reproduce(published, progress=False)  # the row others are measured by
    assert (first.label, first.seed) == ("convolution", 0)
    assert first.inside and first.same_weights and first.score == rows["convolution (seed 0)"]["score"]
    folder = Path(rows["convolution (seed 1)"]["result"]["folder"]).name
    other = reproduce(published / folder, progress=False)
    assert other.seed == 1 and other.score == rows["convolution (seed 1)"]["score"] != first.score
    ridge = reproduce(published, "ridge", progress=False)
    assert ridge.inside and ridge.score == pytest.approx(rows["ridge"]["score"], rel=1e-12)
    assert "inside" in ridge.describe() and "the same bit for bit" in ridge.describe()
    assert sorted(published.iterdir()) == before


def test_a_score_outside_the_interval_is_told_with_exit_code_1(published: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(published, moved)
    content = written(published)
    for row in content["rows"]:  # type: ignore[attr-defined]
        row["interval"] = [0.9 * bound for bound in row["interval"]] if row["label"] == "ridge" else row["interval"]
        if row["label"] == "ridge":
            row["interval"][1] = min(row["interval"][1], 0.99 * row["score"])
    (moved / "comparison.json").write_text(json.dumps(content))
    app = Typer()
    app.command()(command)
    finished = CliRunner().invoke(app, [str(moved), "--row", "ridge", "--keep"])
    assert finished.exit_code == 1 and "outside" in finished.output
    (kept,) = moved.glob("reproduced-*")
    assert (kept / "emulator.safetensors").is_file()
    asked = CliRunner().invoke(app, [str(moved), "--row", "convolution", "--seed", "1", "--json"])
    assert asked.exit_code == 0 and json.loads(asked.stdout)["inside"] is True


def test_what_cannot_be_reproduced_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match="neither the folder of a finished comparison"):
        reproduce(tmp_path, progress=False)
    with pytest.raises(MeshcastError, match=r"has no run of cnn .*; it has .*convolution \(seed 1\)"):
        reproduce(published, "cnn", progress=False)
    with pytest.raises(MeshcastError, match="has no run of ridge with seed 4"):
        reproduce(published, "ridge", 4, progress=False)
    data = published.parents[1] / "train.npy"
    values = np.load(data)
    np.save(data, values + 1)
    try:
        with pytest.raises(MeshcastError, match="train and validation data are not what ridge was trained on"):
            reproduce(published, "ridge", progress=False)
    finally:
        np.save(data, values)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"rows": [{"result": {"hash": "x"}}]}'])
def test_a_damaged_comparison_is_told_and_nothing_is_trained(published: Path, tmp_path: Path, text: str) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(published / "compare.yaml", moved)
    (moved / "comparison.json").write_text(text)
    with pytest.raises(MeshcastError, match=r"comparison.json is not as `meshcast compare` wrote it.*again"):
        reproduce(moved, progress=False)
    assert {path.name for path in moved.iterdir()} == {"compare.yaml", "comparison.json"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda content: [row.update(interval=7) for row in content["rows"]], "interval"),
        (lambda content: [row.update(score="1.2") for row in content["rows"]], "score"),
        (lambda content: content.update(starts={"init_time": 0, "trajectory": [0]}), r"starts\.init_time"),
        (lambda content: content.update(scale={"u": None}), r"scale\.u"),
    ],
)
def test_an_entry_of_another_type_is_told_before_anything_is_trained(
    published: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], what: str
) -> None:
    moved, content = tmp_path / "moved", cast(dict[str, Any], written(published))
    shutil.copytree(published, moved)
    change(content)
    (moved / "comparison.json").write_text(json.dumps(content))
    before = sorted(moved.iterdir())
    with pytest.raises(MeshcastError, match=rf"comparison.json is not as `meshcast compare` wrote it.*{what}"):
        reproduce(moved, "ridge", progress=False)
    assert sorted(moved.iterdir()) == before
