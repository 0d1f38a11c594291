"""Linear maps of fields on latitude circles whose every row is one zonal wave: applied wave by wave, by FFT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graphs.geometry import Array

OTHER_WAVES = 1e-20  # of a row's power: rounding


class RowWaves:
    """A matrix [unknown, component · node] over a grid of latitude circles, in its zonal waves.

    A fit of spherical harmonics on a grid of evenly spaced longitudes separates by order m: the row of a coefficient is
    a(latitude) cos mλ + b(latitude) sin mλ. After an FFT along the circles it takes one wave of each of them, some
    thirtieth of the work of the whole matrix on a grid of 64 x 128 nodes.

    waves: for each wave number its unknowns and their conjugate coefficients [unknown, component · latitude].
    """

    def __init__(self, columns: int, waves: list[tuple[int, NDArray[np.int64], NDArray[np.complex128]]]) -> None:
        self.columns, self.waves = columns, waves
        self.size = sum(len(unknowns) for _, unknowns, _ in waves)

    @classmethod
    def of(cls, matrix: Array, shape: tuple[int, ...]) -> RowWaves | None:
        """Return the waves of a matrix, None where a row holds several or the nodes are no grid."""
        if len(shape) != 2:
            return None
        rows, columns = shape
        found = np.fft.rfft(matrix.reshape(len(matrix), -1, rows, columns), axis=-1)
        number = np.arange(found.shape[-1])
        both = np.where((number == 0) | (2 * number == columns), 1, 2)  # signs of a wave number
        power = np.square(np.abs(found)).sum((1, 2)) * both  # [unknown, wave]
        wave = power.argmax(axis=1)
        if np.any(power.sum(1) - power.max(1) > OTHER_WAVES * power.sum(1)):
            return None
        waves = []
        for one in np.unique(wave):
            unknowns = np.flatnonzero(wave == one)
            coefficients = found[unknowns, :, :, one].conj().reshape(len(unknowns), -1)
            waves.append((int(one), unknowns, coefficients * (both[one] / columns)))
        return cls(columns, waves)

    def __matmul__(self, fields: Array) -> Array:
        """Return [unknown, column] of fields [column, component · node]."""
        circles = fields.reshape(len(fields), -1, self.columns)
        spectrum = np.fft.rfft(circles, axis=-1)  # [column, component · latitude, wave]
        result = np.empty((self.size, len(fields)))
        for number, unknowns, coefficients in self.waves:
            result[unknowns] = (coefficients @ spectrum[:, :, number].T).real
        return result
