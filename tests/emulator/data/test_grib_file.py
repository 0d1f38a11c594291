"""Forecasts in GRIB, checked through eccodes alone."""

from dataclasses import replace

import numpy as np
import pytest

from emulator.data.files import read_files
from emulator.data.forecast import Forecast
from emulator.data.forecast_file import read_forecast
from emulator.data.grib_output import GribSettings, refuse_ungribbable, write_grib
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
    """The fields of a forecast are fields at their valid times, where they are asked for as such."""
    made = forecast(init=INIT[:1])
    fields = read_files(write_grib(made, tmp_path / "f.grib"), forecasts=True)
    assert np.abs(fields["2t"].values[:, 0] - made.values[0, 0, :, :, 0]).max() < PACKING
    assert np.array_equal(to_seconds(fields.time.values), made.valid_time[0])
    with pytest.raises(MeshcastError, match=r"twice from forecasts of different initial times"):
        read_files(write_grib(forecast(init=np.array([INIT[0], INIT[0] + 7200])), tmp_path / "g.grib"))


def read_keys(path, *names: str) -> list[tuple]:
    import eccodes

    found = []
    with open(path, "rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            found.append(tuple(eccodes.codes_get(message, name) for name in names))
            eccodes.codes_release(message)
    return found


def test_members_are_a_control_and_perturbed_ones_and_nothing_is_claimed_that_is_not_known(tmp_path):
    path = write_grib(forecast(members=3, init=INIT[:1]), tmp_path / "f.grib", settings=GribSettings(control=0))
    keys = "number dataType typeOfEnsembleForecast numberOfForecastsInEnsemble centre generatingProcessIdentifier"
    assert read_keys(path, *keys.split(), "productionStatusOfProcessedData")[:9:3] == [
        (0, "cf", 0, 3, "255", 255, 255),
        (1, "pf", 255, 3, "255", 255, 255),
        (2, "pf", 255, 3, "255", 255, 255),
    ]
    given = write_grib(forecast(members=2, init=INIT[:1]), tmp_path / "given.grib")
    assert set(read_keys(given, "dataType")) == {("pf",)}, (
        "which member of a given ensemble is its control, nobody says"
    )


def test_the_configuration_names_the_centre_and_the_number_of_a_variable_that_grib_does_not_know(tmp_path):
    made = forecast(variables=("tcco2", "2t"), units=("ppm", "K"), members=2, init=INIT[:1])
    with pytest.raises(MeshcastError, match=r"cannot hold the variable tcco2.*--grib tcco2=210064"):
        refuse_ungribbable(made)
    with pytest.raises(MeshcastError, match=r"parameter 210064 of centre 255.*--grib centre=ecmf"):
        refuse_ungribbable(made, GribSettings.of({"tcco2": 210064}, made.variables))
    with pytest.raises(MeshcastError, match="no centre 'nowhere'"):
        refuse_ungribbable(made, GribSettings.of({"tcco2": 210064, "centre": "nowhere"}, made.variables))
    about = {"tcco2": "210064", "centre": "ecmf", "generating_process": 153, "ensemble_type": 3, "control": "none"}
    path = write_grib(made, tmp_path / "f.grib", settings=GribSettings.of(about, made.variables, control=0))
    keys = ("paramId", "centre", "generatingProcessIdentifier", "typeOfEnsembleForecast", "dataType")
    assert set(read_keys(path, *keys)) == {(210064, "ecmf", 153, 3, "pf"), (167, "ecmf", 153, 3, "pf")}
    assert read_forecast(path).variables == ("tcco2", "2t")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tcco3": 210064}, "grib names tcco3.*tcco2.*did you mean tcco2"),
        ({"tcco2": "x"}, "grib.tcco2 must be a whole number"),
        ({"ensemble_type": 256}, "grib.ensemble_type must be a whole number from 0 to 255"),
        ({"control": -1}, "grib.control must be"),
    ],
)
def test_settings_of_grib_that_are_none_are_refused(given, words):
    with pytest.raises(MeshcastError, match=words):
        GribSettings.of(given, ("tcco2",))


def test_what_grib_cannot_count_is_refused(tmp_path):
    with pytest.raises(MeshcastError, match="at most 255 members, not 300"):
        refuse_ungribbable(forecast(members=300))
    with pytest.raises(MeshcastError, match="control is member 2, but the members are 0 to 1"):
        refuse_ungribbable(forecast(members=2), GribSettings(control=2))
    with pytest.raises(MeshcastError, match="whole minutes"):
        refuse_ungribbable(forecast(init=INIT + 1))


def test_precipitation_is_counted_over_the_step_before_its_valid_time(tmp_path):
    made = forecast(variables=("tp", "2t"), units=("kg m-2", "K"), init=INIT[:1])
    assert read_keys(write_grib(made, tmp_path / "f.grib"), "shortName", "stepRange", "stepType", "validityTime") == [
        ("tp", "0-2", "accum", 200),
        ("tp", "2-4", "accum", 400),
        ("tp", "4-6", "accum", 600),
        ("2t", "2", "instant", 200),
        ("2t", "4", "instant", 400),
        ("2t", "6", "instant", 600),
    ]
    summed = replace(made, lead_steps=np.array([3, 6, 9]), attributes={"accumulated": '["tp"]'})
    assert [span for (span,) in read_keys(write_grib(summed, tmp_path / "s.grib"), "stepRange")][:3] == [
        "0-6", "6-12", "12-18"
    ]  # fmt: skip
    with pytest.raises(MeshcastError, match="holds 2t as a value at one time"):
        refuse_ungribbable(replace(made, attributes={"accumulated": '["2t"]'}))


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 3])
def test_cfgrib_opens_it_as_a_centres_own(tmp_path, members):
    cfgrib = pytest.importorskip("cfgrib")
    made = forecast(members=members, variables=("z_500", "t_850"), units=("m**2 s**-2", "K"))
    path = write_grib(made, tmp_path / "f.grib", settings=GribSettings(control=0 if members > 1 else None))
    types = ["cf", "pf"] if members > 1 else ["fc"]
    for data_type in types:
        file = cfgrib.open_dataset(path, filter_by_keys={"dataType": data_type, "shortName": "z"}, indexpath="")
        chosen = slice(0, 1) if data_type != "pf" else slice(1, None)
        values = made.values[:, chosen, :, :, 0].swapaxes(0, 1).reshape(-1, 2, 3, 3, 5)
        found = file["z"].expand_dims("number").values if "number" not in file.dims else file["z"].values
        assert file["z"].attrs["units"] == "m**2 s**-2" and file["z"].attrs["GRIB_dataType"] == data_type
        assert np.abs(found - values).max() < PACKING
        assert np.array_equal(to_seconds(file.time.values), INIT)
        assert np.array_equal(file.step.values.astype("m8[h]").astype(int), [2, 4, 6])
        assert np.array_equal(to_seconds(file.valid_time.values), made.valid_time)
        assert np.allclose(file.latitude, [58, 57.75, 57.5]) and np.allclose(
            file.longitude, np.arange(350, 351.1, 0.25)
        )
