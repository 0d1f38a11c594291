"""The explorer page: what it holds equals the scenarios, it asks the network for nothing, and it stays small."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from emulator.pathways.pathway import AGENTS, TOTAL, Pathway
from emulator.task import Variable
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from inference.scenarios.explorer import COLUMNS, LARGEST, ROWS, ExplorerNotes, write_explorer
from inference.scenarios.reduction import features_of, reduced
from inference.scenarios.regions import read_regions, region_means
from inference.scenarios.scenario import Scenario, years_of
from inference.scenarios.summary import BasePeriod, RegionSeries

MESH = icosphere(2)
BASE = BasePeriod(1951, 1960)
NOTES = ExplorerNotes(["It cannot tell <everything>."], ["CC0-1.0"])
YEARS = np.arange(1950, 2051)


def scenario(name: str, slope: float, members: int = 1, mesh=MESH, noise: float = 0.0) -> Scenario:
    """A climate that warms by so much a year, twice as much in the north, in each member by a little more."""
    times = (YEARS - 1970).astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64)
    warming = slope * (YEARS - 1950)[None, :, None] * (1 + 0.1 * np.arange(members))[:, None, None]
    values = 280 + warming * np.where(mesh.latitudes > 0, 2.0, 1.0)
    values = values + noise * np.random.default_rng(0).standard_normal(values.shape)
    forcing = np.zeros((members, len(YEARS), len(AGENTS)))
    forcing[..., 0] = slope * (YEARS - 1950)
    pathway = Pathway(name, YEARS, forcing, "made up & <odd>", ("a note",))
    variables = (Variable("tas", "prognostic", "K"),)
    given = values[..., None].astype(np.float32)
    beyond = {TOTAL: 2040} if slope > 0.04 else {}
    return Scenario(pathway, variables, mesh, times, given, np.zeros((members, 101)), beyond, "toy", given.mean(axis=0))


def written(path: Path, *scenarios: Scenario, regions: tuple[str, ...] = ("global", "north", "ar6")) -> dict:
    means = region_means(read_regions(regions), scenarios[0].mesh)
    series = [RegionSeries.of(one, 0, means, BASE) for one in scenarios]
    step = write_explorer(path, scenarios, series, means, BASE, NOTES)
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert text
    return {**json.loads(text[1]), "step": step, "means": means, "regional": series}


def numbers(packed: dict) -> np.ndarray:
    """As the page does: 16-bit differences along the second axis, summed up."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), "<u2").reshape(packed["shape"])
    return np.cumsum(steps.astype(np.uint16), axis=1, dtype=np.uint16).astype(np.int16) * packed["unit"]


def test_what_the_page_holds_equals_the_scenarios(tmp_path: Path) -> None:
    low, high = scenario("low", 0.01, noise=0.3), scenario("high", 0.05, members=5, noise=0.3)
    data = written(tmp_path / "explorer.html", low, high)
    fields = numbers(data["fields"])
    for place, one in enumerate((low, high)):
        mean = one.values[..., 0].astype(float).mean(axis=0)
        expected = mean - mean[1:11].mean(axis=0)
        assert np.abs(fields[place] - expected).max() < 0.01 / 5
    series = numbers(data["series"])
    expected = data["regional"][1].anomalies
    assert np.abs(series[1, 0].T - expected.mean(axis=0)).max() < 0.01 / 5
    assert np.abs(series[1, 1].T - np.percentile(expected, 5, axis=0)).max() < 0.01 / 5
    assert np.abs(series[0, 1] - series[0, 0]).max() == 0
    raster = np.frombuffer(zlib.decompress(base64.b64decode(data["raster"])), "<u4").reshape(ROWS, COLUMNS)
    assert np.abs(MESH.latitudes[raster[0]] - 90).max() < 20 and np.abs(MESH.latitudes[raster[-1]] + 90).max() < 20
    assert data["years"] == YEARS.tolist() == data["shown"] and data["step"] == 1
    assert [one["beyond"] for one in data["pathways"]] == [None, 2040]
    assert data["pathways"][0]["passes"] == [None, None, None] and data["pathways"][1]["passes"][0] in range(1970, 1990)


def test_the_page_stands_alone(tmp_path: Path) -> None:
    """No address but in words, a policy that permits none, and text of a user's that is no markup."""
    written(tmp_path / "explorer.html", scenario("<script>alert(1)</script>", 0.01), scenario("b", 0.05))
    page = (tmp_path / "explorer.html").read_text()
    assert "default-src &#39;none&#39;" in page and "connect-src" not in page
    assert not re.search(r'(?:src|href|action)="(?!data:|#)[^"]', page) and "@import" not in page
    assert "<script>alert" not in page and "It cannot tell &lt;everything&gt;." in page
    assert "fetch(" not in page and "XMLHttpRequest" not in page and "http://www.w3.org/2000/svg" in page
    for words in ("What this cannot tell you", "CC BY 4.0", "GSHHG", "1951-1960", "made up &amp; &lt;odd&gt;"):
        assert words in page


def test_many_nodes_show_fewer_years_and_too_many_are_refused(tmp_path: Path) -> None:
    fine = icosphere(5)
    data = written(tmp_path / "fine.html", *(scenario(name, 0.02, mesh=fine, noise=1.0) for name in "ab"))
    assert data["step"] == 2 and data["shown"][:2] == [1950, 1952] and data["shown"][-1] == 2050
    assert (tmp_path / "fine.html").stat().st_size <= LARGEST
    many = [scenario(str(number), 0.02, mesh=fine, noise=1.0) for number in range(24)]
    with pytest.raises(MeshcastError, match=r"24 pathways on 10,242 nodes would be larger than 5 MB"):
        written(tmp_path / "many.html", *many, regions=("global",))
    assert not (tmp_path / "many.html").exists()


def test_years_are_calendar_years() -> None:
    assert years_of(scenario("a", 0.01).times).tolist() == YEARS.tolist()


def test_a_reduction_tells_a_pathway_that_it_has_not_seen(tmp_path: Path) -> None:
    """The toy warms at once by what forces it, and so is within its form; of one pathway nothing can be drawn."""
    scenarios = [scenario(name, slope) for name, slope in (("low", 0.01), ("middle", 0.03), ("high", 0.05))]
    changes = np.stack([one.values[0, :, :, 0].astype(float) - 280 for one in scenarios])
    found = reduced(scenarios, changes)
    assert (
        found is not None and found.error < 0.1 and (found.low, found.high) == pytest.approx((0.73, 5.0))
    )  # from now on
    features = features_of(0.04 * (YEARS - 1950.0), found.years)
    expected = 0.04 * (YEARS - 1950)[:, None] * np.where(MESH.latitudes > 0, 2.0, 1.0)
    assert np.abs(features @ found.weights - expected).max() < 0.3
    assert reduced(scenarios[:1], changes[:1]) is None
    data = written(tmp_path / "explorer.html", *scenarios)
    assert data["own"]["knots"] == [2030, 2035, 2040, 2045, 2050] and data["own"]["present"] == 2022
    assert written(tmp_path / "one.html", scenarios[0])["own"] is None
