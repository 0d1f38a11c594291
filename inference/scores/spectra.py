"""Power by wavenumber: on the ring, along latitude circles, over a limited area, and by degree on the sphere."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphs.mesh import EARTH_RADIUS, Mesh
from inference.scores.flow import harmonic_view, resolved_degree

MOST_SHARED = 256_000_000  # bytes of the truth's spectra that are kept


@dataclass
class SharedSpectra:
    """Holds spectra of the truth that forecasts from the same starts share; computed once, kept while small."""

    kept: dict[Hashable, NDArray[np.float64]] = field(default_factory=dict)
    room: int = MOST_SHARED

    def get(self, key: Hashable, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return what is known by the key, or compute it."""
        if key in self.kept:
            return self.kept[key]
        spectrum = compute()
        if spectrum.nbytes <= self.room:
            self.kept[key], self.room = spectrum, self.room - spectrum.nbytes
        return spectrum


@dataclass(frozen=True, eq=False)
class WavenumberAxis:
    """Describes the horizontal axis of a power spectrum.

    wavenumber: [wavenumber], from 0, waves around the ring or the latitude circle; on a limited area half waves across
        its shorter side; on the sphere's scattered or nested nodes the degree of spherical harmonics.
    wavelength: [wavenumber], infinite at wavenumber 0, in `length_units`.
    label: for a plot's axis.
    """

    wavenumber: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    label: str
    length_units: str


def wavenumber_axis(mesh: Mesh) -> WavenumberAxis | None:
    """Return the axis of `power_spectrum` on this mesh, None where it has no spectrum (scattered nodes of an area)."""
    equator = 2 * np.pi * mesh.domain.size / 1000.0
    if mesh.domain.kind == "ring" and len(mesh.shape) == 1:
        number, longest, label = mesh.num_nodes // 2 + 1, mesh.domain.size, "wavenumber"
    elif not mesh.structured:
        if (highest := resolved_degree(mesh)) is None:
            return None
        number, longest, label = highest + 1, equator, "degree (total wavenumber)"
    elif mesh.domain.kind == "sphere":
        number, longest, label = mesh.shape[1] // 2 + 1, equator, "zonal wavenumber"
    else:
        side = (np.array(mesh.shape) * _spacing(mesh)).min()
        number, longest, label = min(mesh.shape), 2 * side / 1000.0, "wavenumber [half waves across the shorter side]"
    wavenumber = np.arange(number, dtype=np.float64)
    by_degree = mesh.domain.kind == "sphere" and not mesh.structured
    # 2 π a / sqrt(l (l + 1)) is the wavelength of degree l (Jeans 1923)
    waves = np.sqrt(wavenumber * (wavenumber + 1.0)) if by_degree else wavenumber
    with np.errstate(divide="ignore"):
        wavelength = longest / waves
    return WavenumberAxis(wavenumber, wavelength, label, "" if mesh.domain.kind == "ring" else "km")


def power_spectrum(values: NDArray[np.floating], mesh: Mesh) -> NDArray[np.float64]:
    """Return power [..., wavenumber, variable] of fields [..., node, variable]; NaN where the field has a NaN.

    Power sums over wavenumbers to the area-weighted mean square (Parseval); on a limited area to the plain mean square
    of the wavenumbers kept, and by degree to that of the degrees resolved. On the ring and along latitude circles by
    Fourier transform; on scattered or nested nodes of the sphere by least squares; on a limited area by the discrete
    cosine transform, which needs no window and no detrending (Denis et al. 2002,
    doi:10.1175/1520-0493(2002)130<1812:SDOTDA>2.0.CO;2).
    """
    assert wavenumber_axis(mesh) is not None, "no spectrum on this mesh"
    if mesh.domain.kind == "sphere" and not mesh.structured:
        return harmonic_view(mesh).power(np.asarray(values, dtype=np.float64))
    fields = np.moveaxis(np.asarray(values, dtype=np.float64), -1, -2)  # [..., variable, node]
    if mesh.domain.kind == "ring":
        power = _fourier_power(fields)
    elif mesh.domain.kind == "sphere":
        rows = _fourier_power(fields.reshape(*fields.shape[:-1], *mesh.shape))
        power = np.einsum("...lk,l->...k", rows, mesh.areas.reshape(mesh.shape).sum(1))
    else:
        power = _cosine_power(fields.reshape(*fields.shape[:-1], *mesh.shape), mesh)
    return np.moveaxis(power, -1, -2)


def _fourier_power(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return power [..., wavenumber] of periodic rows [..., point]: both signs of a wavenumber together."""
    num = x.shape[-1]
    waves = np.fft.rfft(x, axis=-1)
    power = (waves.real**2 + waves.imag**2) / num**2
    power[..., 1 : (num + 1) // 2] *= 2.0  # the mean and, for an even number, the Nyquist wave stand alone
    return power


def _cosine_power(x: NDArray[np.float64], mesh: Mesh) -> NDArray[np.float64]:
    """Return power [..., wavenumber] of [..., latitude, longitude]: variance in rings of equal total wavenumber.

    Denis et al. (2002), eqs. 8 to 13, in physical wavenumber instead of grid counts, since the spacings differ. The
    corners, shorter than two grid lengths along either side alone, are left out as there.
    """
    from scipy.fft import dctn

    power = dctn(x, type=2, axes=(-2, -1), norm="ortho") ** 2 / (x.shape[-2] * x.shape[-1])
    sides = np.array(mesh.shape) * _spacing(mesh)
    half_waves = np.hypot.outer(*(np.arange(n) / side for n, side in zip(mesh.shape, sides, strict=True)))
    ring = np.rint(half_waves * sides.min()).astype(np.int64)
    return np.stack([power[..., ring == wavenumber].sum(-1) for wavenumber in range(min(mesh.shape))], axis=-1)


def _spacing(mesh: Mesh) -> NDArray[np.float64]:
    """Return grid lengths along latitude and longitude [m], the latter at the mean latitude."""
    latitude, longitude = mesh.latitudes.reshape(mesh.shape), mesh.longitudes.reshape(mesh.shape)
    east = (longitude[0, 1:] - longitude[0, :-1] + 180.0) % 360.0 - 180.0
    north = np.abs(np.diff(latitude[:, 0])).mean()
    shrink = np.cos(np.radians(latitude.mean()))
    radius = mesh.domain.size if mesh.domain.size > 1e3 else EARTH_RADIUS
    return np.radians(np.array([north, np.abs(east).mean() * shrink])) * radius
