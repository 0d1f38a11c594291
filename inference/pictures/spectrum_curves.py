"""Power against wavenumber, of truth and forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from graphs.errors import MeshcastError
from inference.pictures.style import TRUTH, journal, lead_name, legend, new_figure, pretty_unit, styles_of
from inference.scores.scorecard import Verification


def spectrum_curves(verification: Verification, variables: Sequence[str] | None = None) -> Figure:
    """Return power against wavenumber, a row a variable, a column each for the first, middle and last lead time.

    variables: all by default.
    """
    axis = verification.wavenumbers
    shown = [e for e in verification.emulators if e.power is not None]
    if axis is None or not shown:
        raise MeshcastError(f"There are no spectra on a {verification.mesh.describe()}.")
    steps = shown[0].lead_steps[shown[0].verified.any((0, 2))]
    leads = sorted({int(steps[0]), int(steps[(len(steps) - 1) // 2]), int(steps[-1])})
    styles = styles_of(verification)
    waves = axis.wavenumber > 0
    by_length = verification.mesh.domain.kind == "limited_area"
    x = (axis.wavelength if by_length else axis.wavenumber)[waves]
    with journal():
        names = verification.variables if variables is None else variables
        figure, panels = new_figure(len(names), len(leads), (2.9, 2.9), sharex=True, sharey="row")
        for row, name in zip(panels, names, strict=True):
            column = verification.variables.index(name)
            unit = verification.units[column]
            curves = [
                (e, e.truth_power[:, waves, column], e.power[:, waves, column])
                for e in shown
                if e.truth_power is not None and e.power is not None
            ]
            for axes, lead in zip(row, leads, strict=True):
                axes.set(xscale="log", yscale="log", title=f"{name}, {lead_name(verification.time_step, lead)}")
                for emulator, truth, power in curves:
                    for place in np.flatnonzero(emulator.lead_steps == lead):
                        if not axes.lines:
                            axes.plot(x, truth[place], label="truth", **vars(TRUTH))
                        axes.plot(x, power[place], label=emulator.label, **vars(styles[emulator.label]))
            square = f"({pretty_unit(unit)})²" if " " in unit else f"{unit}²"
            row[0].set_ylabel("power" if unit == "1" else f"power [{square}]")
            every = np.concatenate([np.ravel(both) for _, *both in curves])
            every = every[np.isfinite(every) & (every > 0)]
            if every.size:  # twelve decades at most: below lies rounding, not physics
                row[0].set_ylim(max(every.min(), every.max() * 1e-12) / 2, every.max() * 3)
        for axes in panels[-1]:
            axes.set_xlabel(f"wavelength [{axis.length_units}]" if by_length else axis.label)
        if by_length:
            panels[0][0].invert_xaxis()
        legend(figure, panels[0][0])
    return figure
