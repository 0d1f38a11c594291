"""Curves of a wind on the whole sphere: vector error, energy by degree, and what is conserved."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from graphs.errors import MeshcastError
from inference.pictures import style
from inference.pictures.style import TRUTH, journal, new_figure, styles_of
from inference.scores.flow import FlowScores
from inference.scores.scorecard import ForecastScores, Verification

Wind = tuple[ForecastScores, FlowScores]


def wind_emulators(verification: Verification) -> list[Wind]:
    """Return the emulators that forecast a wind on the whole sphere, with the scores of it."""
    return [(emulator, emulator.flow) for emulator in verification.emulators if emulator.flow is not None]


def wind_error_curves(verification: Verification) -> Figure:
    """Return the vector RMSE of the wind and its kinetic energy over the truth's, against lead time."""
    shown, styles = _shown(verification), styles_of(verification)
    with journal():
        figure, ((error, ratio),) = new_figure(1, 2)
        for emulator, flow in shown:
            leads, _ = verification.time_step.lead_times(emulator.lead_steps)
            error.plot(leads, flow.vector_rmse, label=style.shown(emulator.label), **vars(styles[emulator.label]))
            ratio.plot(leads, flow.energy_ratio, **vars(styles[emulator.label]))
        error.set(title="wind", ylabel=f"vector RMSE [{style.pretty_unit(shown[0][1].units)}]", ylim=(0.0, None))
        ratio.axhline(1.0, color="black", linewidth=0.8)
        ratio.set(title="kinetic energy", ylabel="forecast / truth", ylim=(0.0, min(ratio.get_ylim()[1], 2.0)))
        for axes in (error, ratio):
            style.lead_axis(axes, verification.time_step, emulator.lead_steps)
        style.legend(figure, error)
    return figure


def energy_spectrum_curves(verification: Verification) -> Figure:
    """Return kinetic energy by degree at three lead times, truth and emulators, fitted to the nodes in the same way.

    Baselines, which are blurred by design, are left out.
    """
    shown, styles = _without_baselines(verification, _shown(verification)), styles_of(verification)
    first, flow = shown[0]
    leads = style.three_leads(first.lead_steps[np.isfinite(flow.truth_spectrum).all(1)])
    with journal():
        figure, (panels,) = new_figure(1, len(leads), (2.9, 2.9), sharex=True, sharey=True)
        for axes, lead in zip(panels, leads, strict=True):
            axes.set(xscale="log", yscale="log", title=style.lead_name(verification.time_step, lead))
            axes.set_xlabel("degree (total wavenumber)")
            for emulator, flow in shown:
                (place,) = np.flatnonzero(emulator.lead_steps == lead)[:1]
                degree = np.arange(1, flow.spectrum.shape[1])
                if emulator is first:
                    axes.plot(degree, flow.truth_spectrum[place, 1:], label="truth", **vars(TRUTH))
                axes.plot(
                    degree, flow.spectrum[place, 1:], label=style.shown(emulator.label), **vars(styles[emulator.label])
                )
            _plain_degrees(axes, int(degree[-1]))
        panels[0].set_ylabel(f"kinetic energy [{style.pretty_unit('m2 s-2')}]")
        powers = np.concatenate([flow.truth_spectrum[:, 1:].ravel() for _, flow in shown])
        powers = powers[np.isfinite(powers) & (powers > 0)]
        if powers.size:
            panels[0].set_ylim(max(powers.min() / 30, powers.max() * 1e-10), powers.max() * 3)
        style.legend(figure, panels[0])
    return figure


def conservation_curves(verification: Verification) -> Figure:
    """Return mass and available energy of shallow water since the initial time, baselines left out."""
    shown = [pair for pair in _shown(verification) if pair[1].available is not None]
    if not shown:
        raise MeshcastError("Mass and energy are those of shallow water: a depth h [m] beside a wind u, v.")
    column, styles = verification.variables.index("h"), styles_of(verification)
    with journal():
        figure, ((mass, energy),) = new_figure(1, 2, style.PANEL)
        for number, (emulator, flow) in enumerate(_without_baselines(verification, shown)):
            steps = np.concatenate([[0], emulator.lead_steps])  # no change at the initial time
            leads, _ = verification.time_step.lead_times(steps)
            assert flow.available_change is not None
            forecast, truth = flow.available_change
            if number == 0:
                truth_mass = emulator.mean("truth_mean_drift")[:, column]
                mass.plot(leads, np.concatenate([[0.0], truth_mass]), label="truth", **vars(TRUTH))
                energy.plot(leads, 100 * truth, **vars(TRUTH))
            look = vars(styles[emulator.label])
            drift = np.concatenate([[0.0], emulator.mean("mean_drift")[:, column]])
            mass.plot(leads, drift, label=style.shown(emulator.label), **look)
            energy.plot(leads, 100 * forecast, **look)
        mass.set(title="mass: mean depth", ylabel="change [m]")
        energy.set(title="available energy", ylabel="change [%]")
        for axes in (mass, energy):
            style.lead_axis(axes, verification.time_step, steps)
        style.legend(figure, mass)
    return figure


def _shown(verification: Verification) -> list[Wind]:
    shown = wind_emulators(verification)
    if not shown:
        raise MeshcastError(f"No wind on the whole sphere: these are fields on a {verification.mesh.describe()}.")
    return shown


def _without_baselines(verification: Verification, shown: list[Wind]) -> list[Wind]:
    return [pair for pair in shown if pair[0].label not in verification.baselines] or shown


def _plain_degrees(axes: Axes, highest: int) -> None:
    """Degrees as whole numbers, though the axis is logarithmic."""
    axes.xaxis.set_major_locator(FixedLocator([d for d in (1, 2, 3, 5, 10, 20, 40) if d <= highest]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
