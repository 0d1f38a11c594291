"""One table of names, and units converted by pint."""

import numpy as np
import pytest

from emulator.data.names import TABLE, canonical_name, conversion, named_standard, split_level, standard_name_of


@pytest.mark.parametrize(
    ("name", "standard_name", "level", "expected"),
    [
        ("t2m", "", None, "2t"), ("tas", "", None, "2t"), ("air_temperature", "air_temperature", None, "2t"),
        ("2t", "", None, "2t"), ("u10", "", None, "10u"), ("tos", "", None, "sst"), ("T850", "", None, "t_850"),
        ("z500", "", None, "z_500"), ("z_500", "", None, "z_500"), ("ta", "air_temperature", 850.0, "t_850"),
        ("x", "geopotential", 500.0, "z_500"), ("u0", "", None, "u0"), ("u1", "", None, "u1"), ("h", "", None, "h"),
        ("t", "", None, "t"), ("rain", "", None, "rain"),
    ],
)  # fmt: skip
def test_files_names_become_grib_short_names(name, standard_name, level, expected):
    assert canonical_name(name, standard_name, level) == expected


def test_canonical_names_stay_and_names_are_given_once():
    aliases = [alias for known in TABLE for alias in (known.name, *known.aliases.split())]
    assert len(aliases) == len(set(aliases))
    assert all(canonical_name(known.name) == known.name for known in TABLE)
    assert split_level("z_500") == ("z", 500) and split_level("u_train") == ("u_train", None)
    assert standard_name_of("z_500") == "geopotential" and standard_name_of("u0") == ""


@pytest.mark.parametrize(
    ("units", "wanted", "value", "expected"),
    [
        ("degC", "K", 20.0, 293.15), ("C", "K", 0.0, 273.15), ("Celsius", "K", 0.0, 273.15), 
        ("degF", "K", 32.0, 273.15),
        ("m2 s-2", "m**2 s**-2", 3.0, 3.0), ("hPa", "Pa", 1013.0, 101300.0), ("mb", "Pa", 1.0, 100.0),
        ("%", "1", 50.0, 0.5), ("m.s-1", "km h-1", 1.0, 3.6), ("kg kg**-1", "g/kg", 0.01, 10.0), ("gpm", "m", 5.0, 5.0),
    ],
)  # fmt: skip
def test_convertible_units_are_converted(units, wanted, value, expected):
    convert = conversion(units, wanted)
    assert convert is not None
    assert np.isclose(convert(np.array([value], np.float32))[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("units", "wanted"), [("K", "m"), ("", "K"), ("unknown", "K"), ("furlongs per banana", "K")])
def test_other_units_are_not(units, wanted):
    assert conversion(units, wanted) is None


def test_an_extreme_over_time_is_no_temperature_at_a_time() -> None:
    about = {"standard_name": "air_temperature", "units": "K"}
    assert named_standard("t2", about) == "air_temperature"
    assert named_standard("t2", {**about, "cell_methods": "area: time: mean"}) == "air_temperature"
    for methods in ("area: mean time: maximum", "time: minimum within days time: mean over days", "time: variance"):
        assert named_standard("t2", {**about, "cell_methods": methods}) == ""
    assert [named_standard(name, about) for name in ("tasmax", "TASMIN", "mx2t_maximum")] == [""] * 3
