"""A forecast without truth is drawn variable by variable, at one place, and lead by lead."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from emulator.data.forecast_file import read_forecast
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from inference.forecasts.place_series import write_series
from inference.pictures.field_maps import maps
from inference.pictures.forecast_pictures import series, write_pictures
from inference.pictures.map_projection import unproject
from inference.pictures.maps import draw_contours, map_box
from inference.pictures.style import ColourScale, file_name
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth


def test_pictures_begin_at_the_initial_value_show_every_variable_and_take_contours(tmp_path: Path) -> None:
    isles = isles_forecast(isles_truth(days=1, rows=5, columns=6), leads=3, every=12)
    values = np.concatenate([isles.values, 2 * isles.values], axis=-1)
    pair = replace(isles, values=values, variables=("2t", "2d"), units=("K", "K"), initial=values[:, :, 0] - 1)
    written = write_pictures(pair, tmp_path / "both", contours=True)
    assert [path.name for path in written] == ["maps_2t.png", "maps_2d.png", "series.png", "animation.gif"]
    with Image.open(written[-1]) as image:
        assert image.n_frames == 4, "the initial value, and a frame a lead time"
    shown = pair.with_initial()
    assert [axes.get_title("left").split("\n")[0] for axes in maps(shown, contours=True).axes[:4]] == [
        "initial value", "1 hour", "2 hours", "3 hours"
    ]  # fmt: skip
    panels = series([shown], variables=["2t", "2d"]).axes
    assert [axes.get_ylabel() for axes in panels] == ["2t [K]", "2d [K]"]
    assert panels[1].lines[0].get_xdata()[0] == 0


def test_pictures_of_any_name_stay_in_their_folder_and_apart(tmp_path: Path) -> None:
    isles = isles_forecast(isles_truth(days=1, rows=5, columns=6), leads=1, every=12)
    names = ("a/b", "a_b", "/../../x", "..")
    values = np.concatenate([isles.values] * len(names), axis=-1)
    several = replace(isles, values=values, variables=names, units=("K",) * len(names))
    written = write_pictures(several, tmp_path / "inner/pictures", variables=names)
    assert {path.parent for path in written} == {tmp_path / "inner/pictures"}
    assert len({path for path in written if path.is_file()}) == 2 * len(names) + 1, "two each, and the series"
    assert {"maps_a_b.png", "maps_...png"} <= {path.name for path in written}
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["inner", "pictures"]
    strange = ["t\x1b[31m", "t\x1b[31n", "\0", "v" * 300, "v" * 301, "\ud800", "日" * 99, "a\\b", "C:x"]
    safe = [file_name(name) for name in strange]
    assert len(set(safe)) == len(strange) and all(len(name.encode()) < 200 and name.isprintable() for name in safe)
    assert file_name("température_850") == "température_850"


def test_a_legend_shows_labels_that_begin_with_an_underscore() -> None:
    isles = isles_forecast(isles_truth(days=1, rows=5, columns=6), leads=2, every=12)
    figure = series([replace(isles, name=name) for name in ("_mine", "yours")])
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["_mine", "yours"]


@pytest.mark.parametrize("mesh", [latlon(np.linspace(80, -80, 9), np.arange(0.0, 360.0, 20.0)), icosphere(1)])
def test_contours_lie_at_the_values_they_name(mesh: Mesh) -> None:
    """On the globe, the line of sin(latitude) = 0.4 is a parallel."""
    axes = Figure().subplots()
    lines = draw_contours(axes, mesh, np.sin(np.radians(mesh.latitudes)), ColourScale("viridis", -1, 1), map_box(mesh))
    path = lines.get_paths()[int(np.abs(lines.levels - 0.4).argmin())]
    latitude = unproject(*path.vertices.T)[1]  # NaN beyond the rim
    # linear between rows 20 degrees (grid) or 32 degrees (icosphere) apart
    assert len(latitude) > 100 and np.nanmax(np.abs(np.sin(np.radians(latitude)) - 0.4)) < 0.06


def test_an_even_field_has_no_lines_and_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    for mesh in (icosphere(1), latlon(np.linspace(60, 50, 3), [0.0, 1.0, 2.0])):
        figure = Figure()
        field = np.full(mesh.num_nodes, 280.0)
        assert draw_contours(figure.subplots(), mesh, field, ColourScale.of(field), map_box(mesh)) is None
    assert not recwarn.list


def test_series_at_places_that_were_written_are_drawn_without_a_map(tmp_path: Path) -> None:
    isles = isles_forecast(isles_truth(days=1, rows=5, columns=6), leads=3, every=12)
    alone = read_forecast(write_series(isles, [(54, -4), (58, 2)], tmp_path / "s.nc"))
    assert [path.name for path in write_pictures(alone, tmp_path / "pictures")] == ["series_1.png", "series_2.png"]
    one = read_forecast(write_series(isles, [(54, -4)], tmp_path / "one.nc"))
    assert np.array_equal(one.values[0, 0, :, 0], alone.values[0, 0, :, 0])


def test_a_ring_and_an_area_have_the_pictures_of_their_kind(tmp_path: Path) -> None:
    ring = ring_forecast(ring_truth(num_nodes=16, trajectories=1, times=7), leads=6)
    isles = isles_forecast(isles_truth(days=1, rows=5, columns=6), leads=3, every=12)
    for forecast, first in ((ring, "hovmoeller_u.png"), (isles, "maps_2t.png")):
        written = write_pictures(forecast, tmp_path / first)
        assert [path.name for path in written] == [first, "series.png", "animation.gif"]
        assert all(path.is_file() for path in written)
        with Image.open(written[-1]) as image:
            assert image.n_frames == len(forecast.lead_steps), "a frame a lead time"
