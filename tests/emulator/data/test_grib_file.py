"""Forecasts in GRIB, checked through eccodes alone."""

import numpy as np
import pytest

from emulator.data.files import read_files
from emulator.data.forecast import Forecast
from emulator.data.forecast_file import read_forecast
from emulator.data.grib_file import refuse_ungribbable, write_grib
from emulator.foundation.time_step import TimeStep, to_seconds
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring

INIT = to_seconds(np.array(["2019-03-25T00", "2019-03-25T06:30"], "M8[s]"))
PACKING = 2e-5  # 24 bits over a range of some 100 units


def forecast(mesh=None, members=1, variables=("2t", "z_500"), units=("K", "m**2 s**-2"), init=INIT) -> Forecast:
    mesh = mesh or latlon([58.0, 57.75, 57.5], np.arange(-10.0, -8.9, 0.25))
    shape = (len(init), members, 3, mesh.num_nodes, len(variables))
    return Forecast(
        "gnn", np.random.default_rng(0).normal(280, 9, shape).astype(np.float32), variables, units, mesh,
        TimeStep(2 * 3600), init, np.full(len(init), -1), np.arange(1, 4),
    )  # fmt: skip


def test_eccodes_reads_the_right_dates_steps_places_and_values(tmp_path):
    import eccodes

    made = forecast()
    write_grib(made, tmp_path / "f.grib")
    keys = "shortName dataDate dataTime step validityDate validityTime level typeOfLevel dataType Ni Nj".split()
    found = []
    with (tmp_path / "f.grib").open("rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            found.append([eccodes.codes_get(message, key) for key in keys])
            if len(found) == 10:  # z_500, second case, first lead
                values = eccodes.codes_get_values(message)
                corner = [
                    eccodes.codes_get(message, f"{key}OfFirstGridPointInDegrees") for key in ("latitude", "longitude")
                ]
            eccodes.codes_release(message)
    assert len(found) == 12
    assert found[1] == ["2t", 20190325, 0, 4, 20190325, 400, 2, "heightAboveGround", "fc", 5, 3]
    assert found[9] == ["z", 20190325, 630, 2, 20190325, 830, 500, "isobaricInhPa", "fc", 5, 3]
    assert np.abs(values - made.values[1, 0, 0, :, 1]).max() < PACKING and corner == [58.0, 350.0]


@pytest.mark.parametrize("members", [1, 3])
def test_a_grib_forecast_is_read_back(tmp_path, members):
    made = forecast(members=members, units=("degC", "m**2 s**-2"))
    made.values[0, 0, 2, 1] = np.nan
    read = read_forecast(write_grib(made, tmp_path / "f.grib2"))
    assert read.variables == made.variables and read.units[0] == "K" and read.time_step == made.time_step
    assert np.array_equal(read.init_time, INIT) and np.array_equal(read.lead_steps, made.lead_steps)
    assert read.mesh.same_nodes(made.mesh) and read.values.shape == made.values.shape
    expected = made.values + np.array([273.15, 0], np.float32)
    assert np.allclose(read.values, expected, atol=1e-4, equal_nan=True) and np.isnan(read.values).sum() == 2


def test_rows_that_run_north_and_a_global_grid_survive(tmp_path):
    for mesh in (latlon([-60.0, 0.0, 60.0], np.arange(0.0, 360.0, 60.0)), latlon([1.0, 2.0], [5.0, 6.0, 7.0])):
        made = forecast(mesh)
        read = read_forecast(write_grib(made, tmp_path / "f.grib", overwrite=True))
        flipped = made.values.reshape(2, 1, 3, *mesh.shape, 2)[:, :, :, ::-1].reshape(made.values.shape)
        assert np.abs(read.values - flipped).max() < PACKING
        assert read.mesh.domain == mesh.domain


def test_what_grib_cannot_hold_is_said(tmp_path):
    scattered = points(np.array([0.0, 40.0, -30.0, 10.0]), np.array([0.0, 90.0, 180.0, 300.0]))
    uneven = latlon([60.0, 50.0, 45.0], [1.0, 2.0])
    for mesh, reason in ((ring(8), "ring of 8 nodes"), (scattered, "mesh of 4 nodes"), (uneven, "uneven")):
        with pytest.raises(MeshcastError, match=rf"GRIB needs .*{reason}.*NetCDF"):
            write_grib(forecast(mesh), tmp_path / "f.grib")
    with pytest.raises(MeshcastError, match=r"cannot hold the variable vorticity_of_tea.*NetCDF"):
        write_grib(forecast(variables=("vorticity_of_tea", "z_500")), tmp_path / "f.grib")
    with pytest.raises(MeshcastError, match=r"GRIB keeps 2t in K, but the forecast has it in m"):
        write_grib(forecast(units=("m", "m**2 s**-2")), tmp_path / "f.grib")
    with pytest.raises(MeshcastError, match="trajectories"):
        refuse_ungribbable(forecast(init=INIT[[0, 0]]))
    assert not (tmp_path / "f.grib").exists()
    write_grib(forecast(), tmp_path / "f.grib")
    with pytest.raises(MeshcastError, match="exists"):
        write_grib(forecast(), tmp_path / "f.grib")


def test_an_analysis_is_no_forecast_and_a_gap_is_named(data_folder, tmp_path):
    with pytest.raises(MeshcastError, match="analyses only"):
        read_forecast(data_folder / "era5-levels-members.grib")
    whole = write_grib(forecast(), tmp_path / "f.grib").read_bytes()
    (tmp_path / "gap.grib").write_bytes(whole[: len(whole) // 12 * 11])
    with pytest.raises(MeshcastError, match=r"truncated|no field of z_500 from 2019-03-25T06:30"):
        read_forecast(tmp_path / "gap.grib")


def test_one_forecast_run_in_grib_starts_another(tmp_path):
    """The fields of a forecast are fields at their valid times."""
    made = forecast(init=INIT[:1])
    fields = read_files(write_grib(made, tmp_path / "f.grib"))
    assert np.abs(fields["2t"].values[:, 0] - made.values[0, 0, :, :, 0]).max() < PACKING
    assert np.array_equal(to_seconds(fields.time.values), made.valid_time[0])
    with pytest.raises(MeshcastError, match=r"twice from forecasts of different initial times"):
        read_files(write_grib(forecast(init=np.array([INIT[0], INIT[0] + 7200])), tmp_path / "g.grib"))
