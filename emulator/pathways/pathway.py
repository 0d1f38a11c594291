"""The type of a pathway: effective radiative forcing by agent, year by year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emulator.forcings import TabulatedForcings
from emulator.foundation.time_step import to_seconds
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index

AGENTS = (
    "co2", "ch4", "n2o", "other_wmghg", "o3", "h2o_stratospheric", "contrails", "aerosol_radiation_interactions",
    "aerosol_cloud_interactions", "bc_on_snow", "land_use", "volcanic", "solar",
)  # fmt: skip
TOTAL = "effective_radiative_forcing"
PRESENT = 2023  # what comes after it is a scenario in every pathway that ships


@dataclass(frozen=True, eq=False)
class Pathway:
    """Effective radiative forcing over that of 1750.

    name: what a user calls it.
    years: [year], one after the other.
    forcing: [member, year, agent] mean of each year [W m-2]; members are equally likely, one where nothing is said of
        how sure it is.
    source: where it comes from, with its licence.
    notes: what was taken for granted, or is odd.
    """

    name: str
    years: Index
    forcing: Array
    source: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.forcing.shape[1:] != (len(self.years), len(AGENTS)):
            raise MeshcastError(
                f"A pathway needs forcing [member, year, agent] with {len(self.years)} years and {len(AGENTS)} agents, "
                f"but that of {self.name} has shape {list(self.forcing.shape)}."
            )
        if len(self.years) < 2 or (np.diff(self.years) != 1).any():
            raise MeshcastError(f"The years of the pathway {self.name} must follow one another, two at least.")
        if not np.isfinite(self.forcing).all():
            member, year, agent = np.argwhere(~np.isfinite(self.forcing))[0]
            raise MeshcastError(
                f"The pathway {self.name} has no forcing of {AGENTS[agent]} in {self.years[year]} (member {member})."
            )

    @property
    def total(self) -> Array:
        """Return the sum over agents [member, year] [W m-2]."""
        return np.asarray(self.forcing.sum(axis=2), np.float64)

    def mean(self) -> Pathway:
        """Return the mean of the members as one."""
        return replace(self, forcing=self.forcing.mean(axis=0, keepdims=True))

    def between(self, first: int, last: int) -> Pathway:
        """Return the years from first to last, both included.

        Raises MeshcastError where the pathway does not reach so far.
        """
        if first < self.years[0] or last > self.years[-1]:
            raise MeshcastError(
                f"The pathway {self.name} reaches from {self.years[0]} to {self.years[-1]}, but {first} to {last} are "
                "needed. Shorten the run, or extend the pathway."
            )
        kept = slice(first - int(self.years[0]), last - int(self.years[0]) + 1)
        return replace(self, years=self.years[kept], forcing=self.forcing[:, kept])

    def table(self, member: int | None = None) -> TabulatedForcings:
        """Return the total and every agent as forcings, at the middle of each year; of a member, by default the mean.

        They go on as they are for the first half of the first year and the last half of the last.
        """
        values = self.forcing.mean(axis=0) if member is None else self.forcing[member]
        values = np.concatenate([values.sum(axis=1, keepdims=True), values], axis=1)
        starts = to_seconds((np.append(self.years, self.years[-1] + 1) - 1970).astype("datetime64[Y]"))
        middles = (starts[:-1] + starts[1:]) // 2
        times = np.concatenate([starts[:1], middles, starts[-1:]])
        return TabulatedForcings(
            (TOTAL, *AGENTS), times, values[np.r_[0, : len(values), -1]], f"the pathway {self.name}"
        )


def mixed(name: str, parts: Sequence[tuple[float, Pathway]]) -> Pathway:
    """Return a weighted mean of pathways, in the years that all of them have.

    Raises MeshcastError unless the weights are positive and sum to one.
    """
    weights = [weight for weight, _ in parts]
    if min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
        raise MeshcastError(
            f"The pathway {name} mixes others by {', '.join(f'{weight:g}' for weight in weights)}, but their weights "
            "must be positive and sum to 1, as in 0.3*ssp126+0.7*ssp245."
        )
    first = max(int(pathway.years[0]) for _, pathway in parts)
    last = min(int(pathway.years[-1]) for _, pathway in parts)
    if last <= first:
        raise MeshcastError(f"The pathways of {name} have no two years in common.")
    cut = [(weight, pathway.mean().between(first, last)) for weight, pathway in parts]
    forcing = np.sum([weight * pathway.forcing for weight, pathway in cut], axis=0)
    notes = dict.fromkeys(note for _, pathway in parts for note in pathway.notes)
    source = "; ".join(dict.fromkeys(pathway.source for _, pathway in parts))
    return Pathway(name, np.arange(first, last + 1), forcing, source, tuple(notes))
