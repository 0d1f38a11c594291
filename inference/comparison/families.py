"""Families of emulators, and how the rows of a comparison look in every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from emulator.build import EMULATORS
from emulator.emulator_config import Family
from inference.comparison.record import Comparison
from inference.pictures.style import COLOURS, DASHES, LineStyle

FAMILIES = get_args(Family)
MOST = 6  # curves in one panel, beside the reference: as many as there are colours
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Panel:
    """The rows that share a panel.

    family: their family; title: with a number where a family needs several panels.
    """

    title: str
    family: str
    labels: tuple[str, ...]


def family_of(kind: str) -> str:
    """Return the family of an emulator's kind; that of checkpoints and forecast files is `others`."""
    return EMULATORS[kind].family if kind in EMULATORS else "others"


def panels_of(comparison: Comparison) -> list[Panel]:
    """Return the rows that forecast by family, in the order of FAMILIES; a large family in several panels."""
    panels = []
    for family in FAMILIES:
        labels = [row.label for row in comparison.rows if row.forecast_seeds and family_of(row.kind) == family]
        count = -(-len(labels) // MOST)
        for number in range(count):
            title = family if count == 1 else f"{family} ({number + 1})"
            size = -(-len(labels) // count)
            panels.append(Panel(title, family, tuple(labels[number * size : (number + 1) * size])))
    return panels


def row_styles(panels: Sequence[Panel], reference: str) -> dict[str, LineStyle]:
    """Return a colour and a dash for each row, no two alike in a panel; the reference is black."""
    dashes: tuple[Any, ...] = ("-", *DASHES)
    styles = {
        label: LineStyle(COLOURS[place], dashes[place], 1.5)
        for panel in panels
        for place, label in enumerate(panel.labels)
    }
    return {**styles, reference: LineStyle("#000000", "-", 2.4)}


def family_marks(panels: Sequence[Panel]) -> Mapping[str, tuple[str, str]]:
    """Return the colour and marker of each family, for pictures where a row is a point."""
    families = list(dict.fromkeys(panel.family for panel in panels))
    return {family: (COLOURS[FAMILIES.index(family)], MARKERS[FAMILIES.index(family)]) for family in families}
