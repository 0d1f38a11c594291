"""Emissions by a few levers: when CO2 peaks, when it is net zero, by how much methane is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emulator.foundation.configuration_faults import nearest
from emulator.pathways.pathway import PRESENT
from emulator.pathways.shipped import emissions_of
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index

CUT_BY = 2050
TREND = 10  # years whose trend goes on until the peak
FORMS = "peak=YEAR, net-zero=YEAR and methane=-40%"


@dataclass(frozen=True)
class Levers:
    """What a user sets; everything else follows a pathway whose emissions ship.

    peak: the last year of growth of CO2 emissions, by the trend of the ten years before the scenarios begin; by default
        the year in which they begin.
    net_zero: the year from which on CO2 emissions are zero, fallen linearly from the peak; None: they stay at the peak.
    methane: change of its emissions by 2050, linear from the year in which the scenarios begin, and kept; -.4 is a cut
        by 40 %. None: as in the pathway followed.
    """

    peak: int | None = None
    net_zero: int | None = None
    methane: float | None = None

    @classmethod
    def read(cls, parts: Sequence[str], where: str) -> Levers:
        """Return the levers of texts such as `peak=2030`, `net-zero=2070` and `methane=-40%`.

        Raises MeshcastError for another lever, a value that is none, one given twice, and years out of order.
        """
        found: dict[str, float] = {}
        for part in parts:
            name, _, text = (piece.strip() for piece in part.partition("="))
            if name not in ("peak", "net-zero", "methane"):
                raise MeshcastError(
                    f"{where}: {part} is no lever, expected {FORMS}{nearest(name, ('peak', 'net-zero', 'methane'))}"
                )
            if name in found:
                raise MeshcastError(f"{where}: {name} is given twice.")
            share = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*%", text)
            if (name == "methane") != bool(share) or (name != "methane" and not re.fullmatch(r"\d{4}", text)):
                raise MeshcastError(f"{where}: {part} is not understood, expected {FORMS}.")
            found[name] = float(share[1]) / 100 if share else int(text)
        peak, zero, methane = (found.get(name) for name in ("peak", "net-zero", "methane"))
        levers = cls(None if peak is None else int(peak), None if zero is None else int(zero), methane)
        if levers.begin < PRESENT - 1 or (levers.net_zero is not None and levers.net_zero <= levers.begin):
            raise MeshcastError(
                f"{where}: CO2 emissions cannot peak before {PRESENT - 1}, up to which they are known, nor be net zero "
                "before they peak."
            )
        if methane is not None and methane < -1:
            raise MeshcastError(f"{where}: methane cannot be cut by more than 100 %.")
        return levers

    @property
    def begin(self) -> int:
        """Return the year of the peak."""
        return PRESENT - 1 if self.peak is None else self.peak


def emissions_by(levers: Levers, base: str) -> tuple[Index, dict[str, Array], tuple[str, ...]]:
    """Return years, emissions [year] by species, and what was taken for granted."""
    years, emissions, _ = emissions_of(base)
    emissions = {species: values.copy() for species, values in emissions.items()}
    last = PRESENT - 1
    notes = [f"all but CO2 and methane is emitted as in {base}"]
    if levers.peak is not None or levers.net_zero is not None:
        known = years <= last
        for species in ("CO2 FFI", "CO2 AFOLU"):
            values = emissions[species]
            recent = slice(last - TREND - int(years[0]), last - int(years[0]) + 1)
            trend = np.polyfit(np.arange(TREND + 1), values[recent], 1)[0]
            now = values[last - int(years[0])]
            later = now + trend * (np.minimum(years, levers.begin) - last)
            if levers.net_zero is not None:
                later = later * np.clip((levers.net_zero - years) / (levers.net_zero - levers.begin), 0.0, 1.0)
            emissions[species] = np.where(known, values, later)
    else:
        notes[0] = f"all but methane is emitted as in {base}"
    if levers.methane is not None:
        methane = emissions["CH4"]
        now = methane[last - int(years[0])]
        share = np.clip((years - last) / (CUT_BY - last), 0.0, 1.0)
        emissions["CH4"] = np.where(years <= last, methane, now * (1 + levers.methane * share))
    else:
        notes[0] = notes[0].replace("CO2 and methane", "CO2")
    return years, emissions, tuple(notes)
