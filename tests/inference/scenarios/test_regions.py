"""Regions and their means: a partition of the Earth, areas that are known, what is asked for wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from inference.scenarios.land import land_share
from inference.scenarios.regions import ar6_regions, read_regions, region_means, whole_regions

FINE = icosphere(5)


def shares(*texts: str) -> dict[str, float]:
    """Return which share of the Earth's area each region's weights stand for, by the areas of nodes that count."""
    regions = read_regions(texts)
    means = region_means(regions, FINE)
    return {region.key: float(FINE.areas[means.weights[row] > 0].sum()) for row, region in enumerate(means.regions)}


def test_the_regions_of_ar6_make_up_the_earth() -> None:
    regions = ar6_regions()
    assert len(regions) == 58 and sum(len(region.outlines) for region in regions) == 62
    points = np.random.default_rng(0).uniform([-180, -90], [180, 90], (20_000, 2))
    outlines = [Outline(outline) for region in regions for outline in region.outlines]
    inside = sum(outline.contains_points(points).astype(int) for outline in outlines)
    assert (inside == 1).mean() > 0.999


def test_land_is_where_it_is() -> None:
    """29.2 % of the Earth is land, 67 % of it in the north (with lakes, a little more)."""
    share = land_share(FINE)
    assert share @ FINE.areas == pytest.approx(0.292, abs=0.004)
    north = FINE.latitudes > 0
    assert (share * FINE.areas)[north].sum() / (share @ FINE.areas) == pytest.approx(0.67, abs=0.015)
    at = {"Sahara": (23.0, 10.0), "Pacific": (0.0, -150.0), "Siberia": (60.0, 100.0), "Atlantic": (30.0, -40.0)}
    for name, (latitude, longitude) in at.items():
        far = (FINE.latitudes - latitude) ** 2 + ((FINE.longitudes - longitude + 180) % 360 - 180) ** 2
        assert share[np.argmin(far)] == (name in ("Sahara", "Siberia")), name


def test_a_mesh_finer_than_the_mask_reads_it_at_its_nodes() -> None:
    mesh = latlon(np.linspace(24, 23, 11), np.linspace(9, 11, 21))
    assert np.array_equal(land_share(mesh), np.ones(231))
    assert np.array_equal(land_share(latlon(np.linspace(1, -1, 21), np.linspace(-31, -29, 21))), np.zeros(441))


def test_means_over_halves_and_boxes_are_of_their_area() -> None:
    found = shares("north", "south", "global", "30/-180/-30/180", "90/170/0/-170")
    assert found["north"] == pytest.approx(0.5, abs=0.01)
    assert found["global"] == pytest.approx(1.0)
    assert found["30/-180/-30/180"] == pytest.approx(np.sin(np.radians(30)), abs=0.01)
    assert found["90/170/0/-170"] == pytest.approx(0.5 * 20 / 360, abs=0.003)  # across the date line


def test_a_mean_is_weighted_by_area_and_surface() -> None:
    means = region_means(read_regions(["global", "land", "sea", "MED", "Sahara"]), FINE)
    assert np.allclose(means.weights.sum(axis=1), 1.0)
    latitude = np.broadcast_to(FINE.latitudes, (2, 3, FINE.num_nodes))
    found = means.of(latitude)
    assert found.shape == (2, 3, 5)
    assert found[0, 0, 0] == pytest.approx(0.0, abs=1e-6)
    assert found[0, 0, 1] > 10 > -3 > found[0, 0, 2]
    share = land_share(FINE)
    assert (means.weights[3] > 0)[share == 1.0].any() and (means.weights[3] > 0)[share == 0.0].any()
    assert not (means.weights[4] > 0)[share == 0.0].any()
    asia, sea = read_regions(["SEA", "sea"])
    assert (asia.name, sea.name) == ("S.E.Asia", "all sea")


def test_a_region_of_few_cells_gets_no_number() -> None:
    coarse = icosphere(2)
    means = region_means((*whole_regions(), *ar6_regions()), coarse)
    assert "MED" in means.left_out and "but a mean takes 3" in means.left_out["MED"]
    assert (means.cells >= 3).all() and len(means.regions) + len(means.left_out) == 63


def test_regions_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.geojson"
    square = [[[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]]]
    other = [[[-170, -60], [-100, -60], [-100, -20], [-170, -20]]]
    feature = {"properties": {"name": "here"}, "geometry": {"type": "Polygon", "coordinates": square}}
    several = {"properties": {}, "geometry": {"type": "MultiPolygon", "coordinates": [square, other]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, several]}))
    found = shares(str(path))
    assert found["here"] == pytest.approx(np.sin(np.radians(40)) / 2 * 40 / 360, abs=0.003)
    assert found["mine-1"] > found["here"]
    bad = {
        "{": "Cannot read the regions",
        '{"features": []}': "holds no polygon",
        '{"type": "Point", "coordinates": [0, 0]}': "is Point, expected",
        json.dumps({"type": "Polygon", "coordinates": square + square}): "has a hole",
        json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [0, 1]]]}): "beyond 180 degrees",
        json.dumps({"type": "Polygon", "coordinates": [["a", "b"]]}): "no pairs of longitude",
    }
    for text, words in bad.items():
        path.write_text(text)
        with pytest.raises(MeshcastError, match=words):
            read_regions([str(path)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mediteranean", "no region 'mediteranean'; did you mean mediterranean"),
        ("MEDI", "did you mean"),
        ("95/0/3/4", "Give its north first"),
        ("1/2/a/4", "A box is NORTH/WEST/SOUTH/EAST"),
        ("missing.geojson", "Cannot read the regions"),
    ],
)
def test_what_is_no_region_is_refused(text: str, words: str) -> None:
    with pytest.raises(MeshcastError, match=words):
        read_regions([text])
