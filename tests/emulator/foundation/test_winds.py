"""Winds and their components, known by names and units."""

from __future__ import annotations

from emulator.foundation.winds import is_of_a_wind, winds


def test_a_wind_is_known_by_its_names_and_units() -> None:
    assert winds(("v", "h", "u"), ("m s-1", "m", "m s-1")) == [(2, 0)]
    assert winds(("10u", "u_500", "10v", "v_500"), ("m s**-1",) * 4) == [(0, 2), (1, 3)]
    assert winds(("u", "v"), ("m", "m")) == [] and winds(("u",), ("m s-1",)) == []
    assert winds(("a_northward", "a_eastward", "b_eastward"), ("m s-1",) * 3) == [(1, 0)]


def test_components_of_winds_are_known_by_their_names() -> None:
    assert all(map(is_of_a_wind, ("u", "v", "10u", "u_500", "v_850", "jet_eastward", "jet_northward")))
    assert not any(map(is_of_a_wind, ("h", "2t", "z_500", "uvb", "vo")))
