"""Winds by the names and units of their components."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPEEDS = ("m s-1", "m s**-1", "m/s", "m s^-1")
EASTWARD, NORTHWARD = "_eastward", "_northward"  # endings of the components of a vector without names of their own
COMPONENT = re.compile(rf"(10|100)?[uv](_\d+)?|.*({EASTWARD}|{NORTHWARD})")


def is_of_a_wind(name: str) -> bool:
    """Return whether a variable is one component of a wind, by its name: `u`, `10v`, `u_500`, `jet_eastward`."""
    return COMPONENT.fullmatch(name) is not None


def winds(variables: Sequence[str], units: Sequence[str]) -> list[tuple[int, int]]:
    """Return columns (eastward, northward) of winds: names that differ in u and v, or east and north, both speeds."""
    found = []
    for east, name in enumerate(variables):
        partners = [name[:place] + "v" + name[place + 1 :] for place, letter in enumerate(name) if letter == "u"]
        if name.endswith(EASTWARD):
            partners.append(name.removesuffix(EASTWARD) + NORTHWARD)
        for partner in partners:
            if partner in variables:
                north = variables.index(partner)
                if units[east] == units[north] and units[east] in SPEEDS:
                    found.append((east, north))
    return found
