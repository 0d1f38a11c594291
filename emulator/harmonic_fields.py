"""Fields of a finer dataset on an emulator's coarser mesh: analysed to spherical harmonics, and evaluated there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emulator.fields import DESCRIPTION, Fields
from emulator.foundation.winds import is_of_a_wind
from graphs.available_memory import SHARE_KEPT, available_memory, readable
from graphs.errors import MeshcastError
from graphs.geometry import Index
from graphs.harmonics.remapping import HarmonicRemapping
from graphs.meshes.grids import GridConfig, RingGrid, build_grid
from graphs.meshes.icosphere import IcosphereMesh

log = logging.getLogger(__name__)

Kept = tuple[NDArray[np.complex64], NDArray[np.float64]]  # packed coefficients without the mean, and the mean

LARGEST_RESIDUAL = 1e-3  # of the standard deviation; a simulation that holds no more than T leaves 1e-5, its rounding
LEAST_VARIATION = 1e-4  # of the mean; below it a field counts as constant but for rounding
VALUES_AT_ONCE = 2_000_000  # of one variable: analysed together, in double precision


@dataclass(frozen=True)
class HarmonicsConfig:
    """Data taken to the emulator's mesh by spherical harmonics, exactly, and not by interpolation.

    truncation: T, the highest degree.
    beyond: what becomes of data that hold more than harmonics up to T: they are refused, or the rest is `cut`, left
        out, so that an emulator learns, forecasts and is verified on fields without it.
    mesh: where the emulator lives; coarser than the data's, it need not resolve T.
    winds: pairs of components, the eastward one first; they are taken by vorticity and divergence.
    """

    truncation: int = 42
    mesh: GridConfig = field(default_factory=lambda: IcosphereMesh(level=3))
    winds: tuple[tuple[str, str], ...] = (("u", "v"),)
    beyond: Literal["refuse", "cut"] = "refuse"

    def __post_init__(self) -> None:
        if self.truncation < 1:
            raise MeshcastError(f"data.harmonics.truncation must be at least 1, but is {self.truncation}.")
        if isinstance(self.mesh, RingGrid):
            raise MeshcastError("data.harmonics.mesh must lie on the sphere, but is a ring.")

    def refuse_other_winds(self, partners: Mapping[str, str]) -> None:
        """Raise MeshcastError where a wind of the task is not one here: its components would be taken for scalars."""
        for name, partner in partners.items():
            if (name, partner) not in self.winds and (partner, name) not in self.winds:
                said = ", ".join(f"[{east}, {north}]" for east, north in self.winds)
                raise MeshcastError(
                    f"task.partners makes {name} and {partner} a wind, but data.harmonics.winds are [{said}]. Add the "
                    "pair there, the eastward component first."
                )


class HarmonicFields(Fields):
    """`Fields` at the nodes of another mesh, by the harmonics of those that are stored, turned about the axis or not.

    stored: the fields of the finer mesh; times that are missing stay so.
    cached: whether coefficients of all times are kept, from the first time that a variable is read, where there is
        memory for them; else every reading analyses what it asks for.
    Raises MeshcastError where the fields hold more than harmonics up to the truncation, unless that is cut.
    """

    def __init__(self, stored: Fields, config: HarmonicsConfig, cached: bool = True) -> None:
        self.stored, self.config = stored, config
        for name in DESCRIPTION:
            setattr(self, name, getattr(stored, name))
        self.ensemble_axis, self.ensemble_size = stored.ensemble_axis, stored.ensemble_size
        self.trajectories = stored.trajectories
        if config.beyond == "cut":
            self.notices += (f"harmonics beyond degree {config.truncation} are left out",)
        self.mesh = build_grid(config.mesh)
        self.remapping = HarmonicRemapping(stored.mesh, self.mesh, config.truncation)
        self._winds = [pair for pair in config.winds if set(pair) <= set(stored.variables)]
        self._kept: dict[str, Kept] = {}
        self.cached = cached and self._fits_in_memory()

    def read_turned(self, times: Index, variables: Sequence[str], row: int, turn: float) -> NDArray[np.float32]:
        """Return values [time, node, variable] of one row, turned eastward by a share of the whole circle."""
        columns = [self.variables.index(name) for name in variables]
        return self._at_nodes(np.asarray(times), np.array([row]), columns, turn)[:, 0]

    def digest(self, variables: Sequence[str]) -> str:
        """Return a digest of all stored values of some variables: that of what is computed would know the machine."""
        digest = hashlib.sha256()
        for block in self._blocks():
            digest.update(self.stored.read(block, variables).data)
        return digest.hexdigest()[:16]

    def _read(self, times: Index, rows: Index, columns: list[int]) -> NDArray[np.float32]:
        return self._at_nodes(times, rows, columns, 0.0)

    def _at_nodes(self, times: Index, rows: Index, columns: list[int], turn: float) -> NDArray[np.float32]:
        """Return values [time, row, node, variable]."""
        names = [self.variables[column] for column in columns]
        found = self._coefficients(times, rows, names)
        packed = np.stack([found[name][0] for name in names])  # [variable, time, row, coefficient]
        winds = {name for pair in self._winds for name in pair}
        of_wind = np.repeat([name in winds for name in names], len(times) * len(rows))
        values = self.remapping.values(packed.reshape(-1, packed.shape[-1]), of_wind, turn)
        means = np.stack([found[name][1] for name in names])[..., None]
        return np.moveaxis((values.reshape(*packed.shape[:3], -1) + means).astype(np.float32), 0, -1)

    def _coefficients(self, times: Index, rows: Index, names: Sequence[str]) -> dict[str, Kept]:
        """Return of each variable packed coefficients [time, row, coefficient] without the mean, and means [time, row].

        The mean stands apart, so that the sum over harmonics is of the size of what varies.
        """
        if not self.cached:
            groups = dict.fromkeys(self._group(name) for name in names)
            return {name: part for group in groups for name, part in self._analysis(group, times, rows).items()}
        for name in names:
            self._analysed(name)
        place = np.ix_(times, rows)
        return {name: (self._kept[name][0][place], self._kept[name][1][place]) for name in names}

    def _group(self, name: str) -> tuple[str, ...]:
        """Return the variables that are analysed together: both components of a wind, or the one.

        Raises MeshcastError for one component of a wind where what harmonics do not hold is cut: alone it has none,
        since over a pole it changes with the meridian, and nothing would tell.
        """
        pair = next((pair for pair in self._winds if name in pair), None)
        if pair is None and self.config.beyond == "cut" and is_of_a_wind(name):
            raise MeshcastError(
                f"{name} of {self.source} is one component of a wind, which has harmonics with the other one alone. "
                "Take both, with one unit of speed, or neither."
            )
        return pair or (name,)

    def _analysed(self, name: str) -> None:
        """Keep the coefficients of a variable at all times, and those of its partner in a wind."""
        if name in self._kept:
            return
        group, rows = self._group(name), np.arange(self.ensemble_size)
        shape = len(self.times), len(rows), len(self.remapping.orders)
        kept = {one: (np.zeros(shape, np.complex64), np.zeros(shape[:2])) for one in group}
        left = size = 0.0
        for block in self._blocks():
            found, squares = self._analysis_of(group, self.stored.read(block, group))
            left, size = left + squares[0], size + squares[1]
            for one, (packed, mean) in found.items():
                kept[one][0][block], kept[one][1][block] = packed, mean
        self._refuse_residual(group, left, size)
        self._kept |= kept

    def _blocks(self) -> Iterator[Index]:
        """Yield the times that are not missing, some at a go."""
        there = np.setdiff1d(np.arange(len(self.times)), sorted(self.missing))
        step = max(1, VALUES_AT_ONCE // (self.stored.mesh.num_nodes * self.ensemble_size))
        yield from (there[first : first + step] for first in range(0, len(there), step))

    def _fits_in_memory(self) -> bool:
        size = 8 * len(self.times) * self.ensemble_size * len(self.remapping.orders) * len(self.variables)
        left = available_memory()
        if left is None or size <= SHARE_KEPT * left:
            return True
        log.warning(
            "The harmonics of %s take %s, more than may be kept of the %s of memory that are left: every sample is "
            "analysed anew.",
            self.source,
            readable(size),
            readable(left),
        )
        return False

    def _analysis(self, group: tuple[str, ...], times: Index, rows: Index) -> dict[str, Kept]:
        """Return what `_coefficients` does of one group, analysed now."""
        found, squares = self._analysis_of(group, self.stored.read(times, group, rows.tolist()))
        self._refuse_residual(group, *squares)
        return found

    def _analysis_of(
        self, group: tuple[str, ...], values: NDArray[np.float32]
    ) -> tuple[dict[str, Kept], tuple[float, float]]:
        """Return the coefficients of values [time, row, node, variable], and sums of squares over area and columns: of
        what no harmonic tells, and of what varies in space; a wind varies from calm."""
        shape, areas = values.shape[:2], self.stored.mesh.areas
        if np.isnan(values).any():
            raise MeshcastError(
                f"{self.source} has no values of {' and '.join(group)} at some nodes, which harmonics need everywhere. "
                "Choose other variables, or leave them on their own nodes."
            )
        flat = np.moveaxis(values.reshape(-1, *values.shape[2:]), -1, 0).astype(np.float64)  # [variable, column, node]
        if len(group) == 2:
            packed, fitted = self.remapping.wind(*flat)
            mean = np.zeros(packed.shape[:2])
        else:
            one, back = self.remapping.scalar(flat[0])
            packed, fitted, mean = one[None], back[None], one[None, :, 0].real.copy()
            packed[..., 0] = 0.0
        left = float((np.square(fitted - flat) @ areas).sum())
        size = float((np.square(flat - mean[..., None]) @ areas + np.square(LEAST_VARIATION * mean)).sum())
        parts = {
            name: (part.astype(np.complex64).reshape(*shape, -1), level.reshape(shape))
            for name, part, level in zip(group, packed, mean, strict=True)
        }
        return parts, (left, size)

    def _refuse_residual(self, group: tuple[str, ...], left: float, size: float) -> None:
        """Raise MeshcastError where harmonics leave too much of what varies."""
        residual = float(np.sqrt(left / size)) if size > 0.0 else 0.0
        what, truncation = " and ".join(group), self.config.truncation
        if residual > LARGEST_RESIDUAL and self.config.beyond == "refuse":
            raise MeshcastError(
                f"Harmonics up to T{truncation} leave {residual:.2g} of the standard deviation of {what} in "
                f"{self.source}, more than {LARGEST_RESIDUAL:g}. Raise data.harmonics.truncation to that of the data, "
                "set data.harmonics.beyond=cut to leave it out, or leave data.harmonics away where they are no sum of "
                "harmonics."
            )
        log.info("Harmonics up to T%d leave %.1e of %s in %s.", truncation, residual, what, self.source)
