"""The report: whole, alone, and drawn without fault for every kind of mesh."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emulator.data.arrays import ArrayFields
from emulator.data.forecast import Forecast
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.meshes.points import points
from inference.pictures import score_curves, style
from inference.pictures.field_maps import maps
from inference.pictures.field_views import case_name
from inference.pictures.forecast_pictures import moving_picture, series, write_pictures
from inference.pictures.ring_pictures import hovmoeller
from inference.report.page import Notes
from inference.report.report import write_report
from inference.report.score_tables import _correlation, _error, table_leads
from inference.scores.tables import write_tables
from inference.scores.verification import verify
from tests.inference.synthetic import (
    isles_forecast,
    isles_truth,
    ring_forecast,
    ring_truth,
    sphere_forecast,
    sphere_truth,
)
from tests.meshcast.command_line import no_file_beyond


def test_the_ring_report_stands_alone(tmp_path: Path) -> None:
    truth = ring_truth(num_nodes=32, trajectories=4, times=21)
    forecasts = [ring_forecast(truth, "GNN <1>", leads=20), ring_forecast(truth, "persistence", lag=1.0, leads=20)]
    found = verify(forecasts, truth, climatology=np.zeros(1), baselines=["persistence"], num_resamples=200)
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,step,train_loss,val_loss\n0,10,0.5,\n0,10,,0.6\n1,20,0.25,\n1,20,,0.4\n")
    notes = Notes(title="Ring", command="meshcast demo ring", log=log, facts={"parameters": "1,234"})
    page = write_report(found, tmp_path / "report", forecasts=forecasts, truth=truth, notes=notes).read_text()
    assert "GNN &lt;1&gt;" in page and "GNN <1>" not in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page), "a link out of the file"
    for needed in ("meshcast demo ring", "1,234", "whole trajectories", "Left out", "Python 3", "loss over epochs"):
        assert needed in page
    assert "nRMSE, mean of steps 1 to 20" in page
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"report.html", "scores.nc", "scores.json", "table.parquet", "table.csv", "animation.gif"} <= names
    assert {"rmse.png", "skill.png", "loss.png", "hovmoeller.png", "spectra.png", "drift.png", "series.png"} <= names


@pytest.mark.parametrize("room", [500, 8_000, 16_000])
def test_a_disk_that_fills_up_leaves_whole_files_alone(tmp_path: Path, room: int) -> None:
    truth = ring_truth(num_nodes=16, trajectories=2, times=5)
    forecast = ring_forecast(truth, leads=4)
    found = verify([forecast], truth, num_resamples=20)

    def write(folder: Path) -> None:
        write_tables(found, folder)
        write_pictures(forecast, folder)

    (tmp_path / "full").mkdir()
    with no_file_beyond(room), pytest.raises(MeshcastError, match="disk is full"):
        write(tmp_path / "full")
    assert all(path.stat().st_size <= room and path.suffix != ".part" for path in (tmp_path / "full").iterdir())
    left = {path.name: path.read_bytes()[:1000] for path in (tmp_path / "full").iterdir() if path.suffix != ".nc"}
    write(tmp_path / "full")
    assert all((tmp_path / "full" / name).read_bytes()[:1000] == start for name, start in left.items())


def test_the_report_of_real_data_names_licence_and_what_was_left_out(tmp_path: Path) -> None:
    truth = isles_truth(days=1, rows=9, columns=11)
    longer = isles_truth(days=2, rows=9, columns=11)
    forecasts = [isles_forecast(longer, leads=6, every=6), isles_forecast(longer, "persistence", 0.8, 6, 6)]
    found = verify(forecasts, truth, baselines=["persistence"], num_resamples=100)
    page = write_report(found, tmp_path, forecasts=forecasts, truth=truth).read_text()
    assert "CC0-1.0" in page and "Made for tests." in page and "no truth at all leads of 2019-03-26T00:00:00" in page
    assert (tmp_path / "maps.png").exists() and (tmp_path / "animation.gif").stat().st_size < 2_000_000
    assert "maps.png" not in page and page.count("data:image/") >= 6
    # For a temperature in kelvin the norm of the truth is its mean, and a change relative to it says nothing.
    assert "nRMSE" not in page and len(score_curves.drift_curves(found).axes) == 1


def test_the_animation_stays_small(tmp_path: Path) -> None:
    truth = ring_truth(num_nodes=32, trajectories=1, times=41)
    path = moving_picture(ring_forecast(truth), truth).write_gif(tmp_path / "a.gif", max_bytes=60_000)
    assert path.stat().st_size <= 60_000
    with Image.open(path) as image:
        assert image.n_frames >= 4


def test_forecasts_are_drawn_without_truth(tmp_path: Path) -> None:
    ring = ring_forecast(ring_truth(num_nodes=16, trajectories=1, times=7), leads=6, members=2)
    assert case_name(ring, 0) == "trajectory 0, mean of 2 members"
    isles = isles_forecast(isles_truth(days=1, rows=9, columns=11), leads=3, every=12)
    isles.values[:, :, :, :5] = np.nan
    for figure in (
        hovmoeller(ring),
        series([ring]),
        maps(isles),
        series([isles]),
    ):
        figure.savefig(tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as image:
            assert np.asarray(image.convert("L")).std() > 10, "an empty picture"


def test_scattered_nodes_and_all_their_fields_have_a_map(tmp_path: Path) -> None:
    index = np.arange(200) + 0.5
    mesh = points(np.degrees(np.arcsin(1 - index / 100)), np.degrees(np.pi * (1 + 5**0.5) * index) % 360)
    field = np.cos(np.radians(mesh.latitudes))
    step, start = TimeStep.parse("6h"), np.array([0])
    forecast = Forecast(
        "GNN", field[None, None, None, :, None].astype("f4"), ("t",), ("K",), mesh, step, start, start - 1, start + 1
    )
    values = np.stack([field, field])[:, None, :, None].astype(np.float32)
    truth = ArrayFields(values, ("t",), ("K",), mesh, step, np.array([0, 21600]), "member")
    maps(forecast, truth).savefig(tmp_path / "map.png")
    found = verify([forecast], truth, num_resamples=50)
    assert found.wavenumbers is not None and "degree" in found.wavenumbers.label
    page = write_report(found, tmp_path / "report", forecasts=[forecast], truth=truth).read_text()
    assert "No intervals" in page
    assert (tmp_path / "report" / "spectra.png").exists() and "GSHHG" in page
    assert not (tmp_path / "report" / "wind.png").exists()


def test_a_flow_on_a_simulated_sphere_is_shown_with_its_wind_and_without_coasts(tmp_path: Path) -> None:
    truth = sphere_truth(trajectories=2, times=5)
    forecasts = [sphere_forecast(truth), sphere_forecast(truth, "persistence", lag=5)]
    found = verify(forecasts, truth, baselines=["persistence"], num_resamples=50)
    page = write_report(found, tmp_path, forecasts=forecasts, truth=truth).read_text()
    names = {path.stem for path in tmp_path.iterdir()}
    assert {"maps_h", "maps_vorticity", "wind", "kinetic_energy", "conservation", "animation"} <= names
    assert "maps_u" not in names
    assert "arrows: wind" in page and "Equal Earth" in page and "GSHHG" not in page
    stored = json.loads((tmp_path / "scores.json").read_text())["emulators"]["GNN"]["wind"]
    assert stored["components"] == ["u", "v"] and stored["vector_rmse"][0] > 0
    assert stored["energy_ratio"] == pytest.approx([1.0] * 4, rel=0.2)


def test_what_cannot_be_drawn_says_why() -> None:
    truth = isles_truth(days=1, rows=9, columns=11)
    forecast = isles_forecast(truth, leads=2, every=12)
    with pytest.raises(MeshcastError, match="needs a ring"):
        hovmoeller(forecast)
    with pytest.raises(MeshcastError, match="has no variable u"):
        maps(forecast, variable="u")
    with pytest.raises(MeshcastError, match="no map"):
        maps(ring_forecast(ring_truth(times=41)))


def test_tables_show_round_leads() -> None:
    hourly, steps = TimeStep.parse("1h"), np.arange(1, 25)
    assert table_leads(steps, hourly).tolist() == [1, 2, 3, 6, 12, 24]
    assert table_leads(np.arange(1, 201), TimeStep(1, "second", 0.1)).tolist()[:3] == [1, 2, 5]
    assert table_leads(np.arange(1, 5), hourly).tolist() == [1, 2, 3, 4]
    assert table_leads(np.arange(1, 41), replace(hourly, count=6 * 3600))[0] == 1


def test_colours_do_not_change_between_plots() -> None:
    styles = style.line_styles(["GNN", "persistence", "ridge"], ["persistence"])
    assert styles["GNN"].color != styles["ridge"].color and styles["persistence"].linestyle != "-"


def test_errors_of_different_size_share_a_logarithmic_axis() -> None:
    truth = ring_truth(num_nodes=32, trajectories=2, times=11)
    fine, coarse = ring_forecast(truth, "fine", lag=1e-3, leads=10), ring_forecast(truth, "coarse", lag=1.0, leads=10)
    scales = []
    for forecasts in ([coarse], [fine, coarse]):
        (axes,) = score_curves.metric_curves(verify(forecasts, truth, num_resamples=50), "rmse").axes
        scales.append(axes.get_yscale())
    assert scales == ["linear", "log"]


def test_five_baselines_fit_on_the_page() -> None:
    truth = ring_truth(num_nodes=32, trajectories=2, times=11)
    names = [f"baseline {number}" for number in range(5)]
    forecasts = [ring_forecast(truth, name, lag=0.1 * k, leads=10) for k, name in enumerate(["GNN", *names], 1)]
    figure = score_curves.skill_curves(verify(forecasts, truth, baselines=names, num_resamples=50))
    assert len(figure.axes) == 5 and figure.get_figwidth() < 9
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False, False, True, True, True]


def test_what_lies_below_rounding_is_no_error_and_what_is_nearly_one_says_by_how_much() -> None:
    assert _error(1e-9, rounding=1e-7) == "≈ 0" and _error(-2e-7, rounding=1e-7) == "-2.00e-07"
    assert _correlation(0.999998) == "1 − 2e-06" and _correlation(0.98) == "0.98" and _correlation(1.0) == "1"
