"""Maps show each field where it is: on icospheres, grids and scattered nodes, with arrows along the wind."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from inference.pictures.field_maps import maps
from inference.pictures.forecast_pictures import moving_picture
from inference.pictures.map_projection import unproject
from inference.pictures.maps import WHOLE, _arrow_places, _pixel_places, draw_map, raster, wind_arrows
from inference.pictures.style import ColourScale
from tests.inference.scores.test_flow import scattered
from tests.inference.synthetic import sphere_forecast, sphere_truth

GRID = latlon(np.linspace(87.5, -87.5, 36), np.arange(0, 360, 5.0))


@pytest.mark.parametrize(
    ("mesh", "off"), [(icosphere(3), 0.03), (scattered(), 0.15), (GRID, 0.07)], ids=["icosphere", "scattered", "grid"]
)
def test_every_pixel_of_the_globe_shows_the_field_of_its_place(mesh: Mesh, off: float) -> None:
    longitude, latitude = (np.radians(part) for part in _pixel_places())
    field = np.cos(np.radians(mesh.latitudes)) * np.sin(np.radians(mesh.longitudes))
    shown = raster(mesh, field, WHOLE)
    inside = np.isfinite(longitude)
    assert (np.ma.getmaskarray(shown) == ~inside).all()
    assert np.abs(shown - np.cos(latitude) * np.sin(longitude)).max() < off


def test_a_masked_node_is_grey_and_its_neighbours_are_not() -> None:
    mesh = icosphere(2)
    field = np.ones(mesh.num_nodes)
    field[0] = np.nan
    shown, every = raster(mesh, field, WHOLE), raster(mesh, np.ones(mesh.num_nodes), WHOLE)
    hidden = np.ma.getmaskarray(shown) & ~np.ma.getmaskarray(every)
    # A quarter of each of its triangles, where its own weight is over a half; they are three times its cell.
    assert hidden.sum() / (~np.ma.getmaskarray(every)).sum() == pytest.approx(0.75 * mesh.areas[0], rel=0.15)
    np.testing.assert_allclose(shown.compressed(), 1.0)


def test_arrows_of_solid_rotation_point_east_and_are_as_long_as_the_wind() -> None:
    mesh = icosphere(4)
    latitude = np.radians(mesh.latitudes)
    x, y = wind_arrows(mesh, np.stack([30.0 * np.cos(latitude), 0.0 * latitude], axis=1))
    there = np.radians(unproject(*_arrow_places())[1])
    np.testing.assert_allclose(x, 30.0 * np.cos(there), atol=0.25)
    np.testing.assert_allclose(y, 0.0, atol=0.25)


def test_a_simulated_planet_has_no_coasts() -> None:
    mesh, lines = icosphere(2), []
    for coasts in (True, False):
        axes = Figure().subplots()
        draw_map(axes, mesh, mesh.latitudes, ColourScale("viridis", -90, 90), WHOLE, coasts)
        lines.append(sum(len(collection.get_paths()) for collection in axes.collections))
    assert lines[0] > 100 > lines[1]


def test_the_globe_is_drawn_with_wind_with_truth_and_without(tmp_path: Path) -> None:
    truth = sphere_truth()
    forecast = sphere_forecast(truth)
    for figure, panels in (
        (maps(forecast, truth, "h"), 9),
        (maps(forecast, truth, "vorticity", case=1), 9),
        (maps(forecast, None, "u"), 3),
    ):
        assert len(figure.axes) == panels + (2 if panels == 9 else 1)  # and the colour bars
        figure.savefig(tmp_path / "map.png")
    path = moving_picture(forecast, truth).write_gif(tmp_path / "a.gif", max_frames=4)
    with Image.open(path) as image:
        assert image.n_frames == 4 and image.size[0] > 2 * image.size[1]


def test_truth_and_forecast_share_one_scale_and_the_error_has_its_own() -> None:
    truth = sphere_truth()
    figure = maps(sphere_forecast(truth), truth, "h")
    limits = [axes.images[0].get_clim() for axes in figure.axes[:3]]
    assert limits[0] == limits[1] != limits[2] and limits[2][0] == -limits[2][1]
