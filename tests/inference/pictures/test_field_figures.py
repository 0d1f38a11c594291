"""Diagrams, series and colours hold the fields that they are drawn from, with their units."""

import numpy as np
import pytest

from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.limited_area import CapWindow, limited_area
from inference.pictures.field_views import central_node
from inference.pictures.forecast_pictures import series
from inference.pictures.maps import map_box, raster
from inference.pictures.ring_pictures import hovmoeller
from inference.pictures.score_curves import spectrum_curves
from inference.pictures.style import DIVERGING, SEQUENTIAL, ColourScale
from inference.scores.verification import verify
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth


def test_a_hovmoeller_diagram_shows_truth_forecast_and_their_difference() -> None:
    truth = ring_truth(num_nodes=16, trajectories=2, times=11)
    forecast = ring_forecast(truth, leads=10)
    panels = hovmoeller(forecast, truth, case=1).axes[:3]
    there, ours, error = (np.asarray(axes.collections[0].get_array()).reshape(10, 16) for axes in panels)
    np.testing.assert_allclose(there, truth.values[1:, 1, :, 0])
    np.testing.assert_allclose(ours - there, error, atol=1e-6)
    limits = [axes.collections[0].get_clim() for axes in panels]
    assert limits[0] == limits[1] and limits[2][0] == -limits[2][1]
    assert [axes.get_title("left") for axes in panels] == ["truth", "GNN", "forecast minus truth"]
    assert panels[0].get_ylabel() == "lead time" and panels[0].get_xlabel() == "position"


def test_a_series_shows_one_place_of_every_forecast_in_its_unit() -> None:
    truth = isles_truth(days=1, rows=9, columns=11)
    forecast = isles_forecast(truth, leads=6, every=6)
    (axes,) = series([forecast], truth).axes
    node = central_node(forecast.mesh)
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["GNN"], forecast.values[0, 0, :, node, 0])
    np.testing.assert_allclose(lines["truth"], truth.values[1:7, 0, node, 0])
    assert axes.get_ylabel() == "2t [K]" and axes.get_xlabel() == "lead time [hours]"
    assert axes.get_title("left").startswith("54°N 4°W, from 2019-03-25")


def test_spectra_are_those_of_the_scores() -> None:
    truth = ring_truth(num_nodes=32, trajectories=2, times=11)
    found = verify([ring_forecast(truth, leads=10)], truth, num_resamples=20)
    panels = spectrum_curves(found).axes
    power = found["GNN"].power
    assert power is not None
    lines = {line.get_label(): line.get_ydata() for line in panels[1].lines}
    np.testing.assert_allclose(lines["GNN"], power[4, 1:, 0])
    assert panels[0].get_ylabel() == "power" and "wavenumber" in panels[0].get_xlabel()


def test_colours_part_at_zero_only_where_the_field_has_both_signs() -> None:
    both, one = ColourScale.of(np.array([-3.0, 2.0])), ColourScale.of(np.array([270.0, 290.0]), np.array([np.nan]))
    assert both.name == DIVERGING and both.low == -both.high and one.name == SEQUENTIAL
    assert (one.low, one.high) == pytest.approx((270.0, 290.0), abs=0.1)
    error = ColourScale.of_error(np.array([-1.0, 4.0]))
    assert error.high == -error.low == pytest.approx(4.0, rel=0.01)


def test_the_map_of_a_polar_area_reaches_the_pole_and_of_another_does_not() -> None:
    polar, _ = limited_area(icosphere(3), CapWindow((90.0, 0.0), 3000.0, 1400.0))
    west, east, south, north = map_box(polar)
    assert north == 90.0 and 40 < south < 62 and east - west == pytest.approx(360.0, abs=30)
    shown = raster(polar, np.ones(polar.num_nodes), map_box(polar))
    assert not np.ma.getmaskarray(shown)[-1].any(), "a pixel at the pole without colour"
    box = map_box(latlon(np.linspace(58, 50, 9), np.linspace(-10, 2, 13)))
    assert box == pytest.approx((-10.5, 2.5, 49.5, 58.5))
