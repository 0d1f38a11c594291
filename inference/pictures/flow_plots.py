"""Curves of a wind on the whole sphere: vector error, energy by degree, and what is conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError
from inference.pictures.style import (
    PANEL,
    LineStyle,
    journal,
    lead_name,
    lead_ticks,
    legend,
    new_figure,
    pretty_unit,
    styles_of,
)
from inference.scores.flow_scores import FlowScores
from inference.scores.scorecard import ForecastScores, Verification

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH = LineStyle("black", "-", 2.6)
TRUTH_ALPHA = 0.35


def wind_emulators(verification: Verification) -> list[tuple[ForecastScores, FlowScores]]:
    """The emulators that forecast a wind on the whole sphere, with what was found of it."""
    return [(emulator, emulator.flow) for emulator in verification.emulators if emulator.flow is not None]


def wind_error_curves(verification: Verification) -> Figure:
    """Vector RMSE of the wind and kinetic energy over the truth's, against lead time."""
    shown, styles = _shown(verification)
    unit = pretty_unit(shown[0][1].units)
    with journal():
        figure, ((error, ratio),) = new_figure(1, 2)
        for emulator, flow in shown:
            lead, label = verification.time_step.lead_axis(emulator.lead_steps)
            style = vars(styles[emulator.label])
            error.plot(lead, flow.vector_rmse, label=emulator.label, **style)
            ratio.plot(lead, flow.energy_ratio, **style)
        error.set_title("wind")
        error.set_ylabel(f"vector RMSE [{unit}]")
        error.set_ylim(bottom=0.0)
        ratio.set_title("kinetic energy")
        ratio.set_ylabel("forecast / truth")
        ratio.axhline(1.0, color="black", linewidth=0.8)
        ratio.set_ylim(bottom=0.0, top=min(ratio.get_ylim()[1], 2.0))
        for axes in (error, ratio):
            axes.set_xlabel(label)
            lead_ticks(axes, label)
        legend(figure, error)
    return figure


def energy_spectrum_curves(verification: Verification, leads: Sequence[int] | None = None) -> Figure:
    """Kinetic energy by degree at several lead times, truth and emulators, fitted to the nodes in the same way.

    Baselines, which are blurred by design, are left out.

    leads: steps, by default the first after a tenth of the forecast, the middle and the last with truth.
    """
    shown, styles = _shown(verification)
    shown = _without_baselines(verification, shown)
    first, flow = shown[0]
    steps = first.lead_steps[np.isfinite(flow.truth_spectrum).all(1)]
    if leads is None:
        last = len(steps) - 1
        leads = sorted({int(steps[last // 10]), int(steps[last // 2]), int(steps[last])})
    with journal():
        figure, (panels,) = new_figure(1, len(leads), (2.9, 2.9), sharex=True, sharey=True)
        for axes, lead in zip(panels, leads, strict=True):
            axes.set(xscale="log", yscale="log", title=lead_name(verification.time_step, lead))
            axes.set_xlabel("degree (total wavenumber)")
            for emulator, flow in shown:
                (place,) = np.flatnonzero(emulator.lead_steps == lead)[:1]
                degree = np.arange(1, flow.spectrum.shape[1])
                if not axes.lines:
                    truth = flow.truth_spectrum[place, 1:]
                    axes.plot(degree, truth, label="truth", alpha=TRUTH_ALPHA, **vars(TRUTH))
                axes.plot(degree, flow.spectrum[place, 1:], label=emulator.label, **vars(styles[emulator.label]))
            _plain_degrees(axes, flow.spectrum.shape[1] - 1)
        panels[0].set_ylabel(f"kinetic energy [{pretty_unit('m2 s-2')}]")
        powers = np.concatenate([flow.truth_spectrum[:, 1:].ravel() for _, flow in shown])
        powers = powers[np.isfinite(powers) & (powers > 0)]
        if powers.size:
            panels[0].set_ylim(max(powers.min() / 30, powers.max() * 1e-10), powers.max() * 3)
        legend(figure, panels[0])
    return figure


def conservation_curves(verification: Verification) -> Figure:
    """Mass and available energy of shallow water since the initial time, of truth and emulators, baselines left out."""
    shown, styles = _shown(verification)
    shown = _without_baselines(verification, [pair for pair in shown if pair[1].available is not None])
    if not shown:
        raise MeshcastError("Mass and energy are those of shallow water: a depth h [m] beside a wind u, v.")
    column = verification.variables.index("h")
    with journal():
        figure, ((mass, energy),) = new_figure(1, 2, PANEL)
        for number, (emulator, flow) in enumerate(shown):
            lead, label = verification.time_step.lead_axis(np.concatenate([[0], emulator.lead_steps]))
            style = vars(styles[emulator.label])
            assert flow.available_change is not None
            own, truth = flow.available_change
            change = {prefix: _from_zero(emulator.mean(f"{prefix}mean_drift")[:, column]) for prefix in ("truth_", "")}
            if number == 0:
                mass.plot(lead, change["truth_"], label="truth", alpha=TRUTH_ALPHA, **vars(TRUTH))
                energy.plot(lead, 100 * truth, alpha=TRUTH_ALPHA, **vars(TRUTH))
            mass.plot(lead, change[""], label=emulator.label, **style)
            energy.plot(lead, 100 * own, **style)
        mass.set_title("mass: mean depth")
        mass.set_ylabel("change [m]")
        energy.set_title("available energy")
        energy.set_ylabel("change [%]")
        for axes in (mass, energy):
            axes.set_xlabel(label)
            lead_ticks(axes, label)
        legend(figure, mass)
    return figure


def _shown(verification: Verification) -> tuple[list[tuple[ForecastScores, FlowScores]], Mapping[str, LineStyle]]:
    shown = wind_emulators(verification)
    if not shown:
        raise MeshcastError(f"No wind on the whole sphere: these are fields on a {verification.mesh.describe()}.")
    return shown, styles_of(verification)


def _without_baselines(
    verification: Verification, shown: list[tuple[ForecastScores, FlowScores]]
) -> list[tuple[ForecastScores, FlowScores]]:
    """Those that are no baseline, or all where every one is."""
    return [pair for pair in shown if pair[0].label not in verification.baselines] or shown


def _from_zero(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """[1 + lead]: no change at the initial time."""
    return np.concatenate([[0.0], change])


def _plain_degrees(axes: Axes, highest: int) -> None:
    """Degrees as whole numbers, though the axis is logarithmic."""
    from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

    axes.xaxis.set_major_locator(FixedLocator([d for d in (1, 2, 3, 5, 10, 20, 40) if d <= highest]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
