"""Scores within a region are those of its nodes, by area, and say so."""

from dataclasses import replace

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.report.answer import answer
from inference.scores.region import REGIONS, region_of
from inference.scores.tables import to_json
from inference.scores.verification import verify
from tests.inference.synthetic import (
    isles_forecast,
    isles_truth,
    ring_forecast,
    ring_truth,
    sphere_forecast,
    sphere_truth,
)

TRUTH = sphere_truth()
FORECAST = sphere_forecast(TRUTH)


@pytest.mark.parametrize("name", REGIONS)
def test_errors_are_those_of_the_nodes_within(name: str) -> None:
    region = REGIONS[name]
    mesh = TRUTH.mesh
    east = (mesh.longitudes - region.west + 1e-6) % 360 <= region.east - region.west + 2e-6
    within = (mesh.latitudes <= region.north + 1e-6) & (mesh.latitudes >= region.south - 1e-6) & east
    if not within.any():
        with pytest.raises(MeshcastError, match=f"No node lies in the region {name}"):
            verify([FORECAST], TRUTH, region=region)
        return
    found = verify([FORECAST], TRUTH, region=region, num_resamples=20)
    error = FORECAST.values[:, 0, 0, within, 0].astype(np.float64) - TRUTH.values[1][:, within, 0]
    weights = mesh.areas[within] / mesh.areas[within].sum()
    assert found["GNN"].mean("rmse")[0, 0] == pytest.approx(np.sqrt((error**2 @ weights).mean()), rel=1e-9)
    assert found.mesh.num_nodes == within.sum() and found.region == str(region) and found.wavenumbers is None


def test_the_whole_sphere_as_a_box_scores_as_the_sphere() -> None:
    box = region_of(None, "90,-180,-90,180")
    part, whole = verify([FORECAST], TRUTH, region=box), verify([FORECAST], TRUTH)
    for metric in whole["GNN"].metrics:
        np.testing.assert_allclose(part["GNN"].values[metric], whole["GNN"].values[metric], rtol=1e-9, atol=1e-9)


def test_a_box_reaches_across_greenwich_and_the_date_line() -> None:
    pacific = region_of(None, "30,170,-30,-170")
    assert pacific is not None
    longitudes = TRUTH.mesh.longitudes[pacific.nodes(TRUTH.mesh)]
    assert len(longitudes) and np.all((longitudes >= 170 - 1e-6) & (longitudes <= 190 + 1e-6))
    truth = isles_truth(days=1)
    box = region_of(None, "54,-2,52,1")
    assert box is not None
    found = verify([isles_forecast(truth)], truth, region=box, num_resamples=20)
    assert found.mesh.latitudes.max() <= 54 + 1e-6 and found.mesh.num_nodes == len(box.nodes(truth.mesh))


def test_the_report_says_the_region() -> None:
    found = verify([FORECAST], TRUTH, region=REGIONS["tropics"], num_resamples=20)
    assert "within tropics (20 N to 20 S)" in answer(found)
    assert to_json(found)["region"] == "tropics (20 N to 20 S)"
    assert "within" not in answer(verify([FORECAST], TRUTH, num_resamples=20))


@pytest.mark.parametrize(
    ("name", "box", "message"),
    [
        ("tropic", None, r"no region tropic; did you mean tropics.*--box N,W,S,E"),
        ("tropics", "1,2,0,3", "not both"),
        (None, "1,2,3", "takes N,W,S,E"),
        (None, "10,0,20,5", "no box: N must lie north"),
        (None, "95,0,20,5", "no box"),
        (None, "nan,0,20,5", "no box"),
        (None, "20,5,10,5", "has no width"),
    ],
)
def test_what_is_no_region_is_refused(name: str | None, box: str | None, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        region_of(name, box)


def test_a_ring_has_no_regions_and_a_boundary_is_not_scored() -> None:
    truth = ring_truth(trajectories=2)
    with pytest.raises(MeshcastError, match="is of the sphere, but the truth lies on a ring"):
        verify([ring_forecast(truth)], truth, region=REGIONS["tropics"])
    boundary = np.abs(TRUTH.mesh.latitudes) < 10
    nodes = REGIONS["tropics"].nodes(replace(TRUTH.mesh, boundary=boundary))
    assert not boundary[nodes].any()
