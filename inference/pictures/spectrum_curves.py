"""Power against wavenumber, of truth and forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError
from inference.pictures.style import LineStyle, journal, lead_name, legend, new_figure, pretty_unit, styles_of
from inference.scores.scorecard import ForecastScores, Verification

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def spectrum_curves(
    verification: Verification, leads: Sequence[int] | None = None, variables: Sequence[str] | None = None
) -> Figure:
    """Power against wavenumber at several lead times, truth and emulators; one row a variable, one column a lead.

    variables: all by default.
    leads: steps, by default the first, the last and one between.
    """
    axis = verification.wavenumbers
    shown = [e for e in verification.emulators if e.power is not None]
    if axis is None or not shown:
        raise MeshcastError(f"There are no spectra on a {verification.mesh.describe()}.")
    steps = shown[0].lead_steps[shown[0].verified.any((0, 2))]
    leads = (
        list(leads) if leads is not None else sorted({int(steps[0]), int(steps[(len(steps) - 1) // 2]), int(steps[-1])})
    )
    styles = styles_of(verification)
    waves = axis.wavenumber > 0
    by_length = verification.mesh.domain.kind == "limited_area"
    x = (axis.wavelength if by_length else axis.wavenumber)[waves]
    with journal():
        names = verification.variables if variables is None else variables
        figure, panels = new_figure(len(names), len(leads), (2.9, 2.9), sharex=True, sharey="row")
        for row, name in enumerate(names):
            column = verification.variables.index(name)
            unit = verification.units[column]
            for axes, lead in zip(panels[row], leads, strict=True):
                _spectra_at(axes, shown, lead, waves, column, x, styles)
                axes.set_title(f"{name}, {lead_name(verification.time_step, lead)}")
            panels[row][0].set_ylabel(
                "power" + (f" [({pretty_unit(unit)})²]" if " " in unit else f" [{unit}²]" if unit != "1" else "")
            )
            _spectral_limits(panels[row][0], shown, waves, column)
        for axes in panels[-1]:
            axes.set_xlabel(f"wavelength [{axis.length_units}]" if by_length else axis.label)
        if by_length:
            panels[0][0].invert_xaxis()
        legend(figure, panels[0][0])
    return figure


def _spectra_at(
    axes: Axes,
    shown: Sequence[ForecastScores],
    lead: int,
    waves: NDArray[np.bool_],
    column: int,
    x: NDArray[np.float64],
    styles: Mapping[str, LineStyle],
) -> None:
    """Truth and emulators at one lead time, for one variable."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for emulator in shown:
        place = np.flatnonzero(emulator.lead_steps == lead)
        if place.size and emulator.power is not None and emulator.truth_power is not None:
            if not axes.lines:
                truth = emulator.truth_power[place[0], waves, column]
                axes.plot(x, truth, color="black", linewidth=2.6, alpha=0.35, label="truth")
            power = emulator.power[place[0], waves, column]
            axes.plot(x, power, label=emulator.label, **vars(styles[emulator.label]))


def _spectral_limits(axes: Axes, shown: Sequence[ForecastScores], waves: NDArray[np.bool_], column: int) -> None:
    """Twelve decades at most: below lies rounding, not physics."""
    powers = [p[:, waves, column] for e in shown for p in (e.truth_power, e.power) if p is not None]
    every = np.concatenate([power[np.isfinite(power) & (power > 0)] for power in powers])
    if every.size:
        axes.set_ylim(max(every.min(), every.max() * 1e-12) / 2, every.max() * 3)
