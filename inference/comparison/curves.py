"""Curves of a comparison: error, amplitude, stability, conservation and spectra, a panel a family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emulator.scores import ROUNDING
from graphs.errors import MeshcastError
from inference.comparison.family_panels import MOST_STANDARD_DEVIATIONS, Along, Array, Curve, Limits, by_family
from inference.comparison.record import Comparison
from inference.comparison.row_scores import RowScores
from inference.pictures.style import MOST_LINEAR, lead_name, pretty_unit
from inference.scores.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_curves(comparison: Comparison, metric: str, variable: str) -> Figure:
    """Draw a metric of one variable against lead time, a panel a family, with intervals as bands."""
    scores, about = comparison.scores, METRICS[metric]
    column = scores.verification.variables.index(variable)
    shown = [label for label, members in scores.members.items() if metric in members[0].metrics]
    if not shown:
        raise MeshcastError(f"No row has the score {metric}.")

    def curve(label: str) -> Curve:
        return scores.leads(label), scores.mean(label, metric).value[:, column]

    def band(label: str) -> tuple[Array, Array]:
        found = scores.mean(label, metric)
        return found.lower[:, column], found.upper[:, column]

    size = float(scores.verification.scale[column])
    if metric == "nrmse":
        size /= float(scores.verification.magnitude[column])
    curves = [curve(label)[1] for label in shown]
    limits = _error_limits(curves, size) if about.better == "smaller" else _ratio_limits(curves, about.perfect or 0.0)
    title = about.with_unit(pretty_unit(scores.verification.units[column]))
    return by_family(comparison, shown, curve, f"{variable}: {title}", limits, band)


def amplitude_curves(comparison: Comparison, variable: str) -> Figure:
    """Draw the forecast's spatial standard deviation over the truth's against lead time, a panel a family."""
    scores = comparison.scores
    column = scores.verification.variables.index(variable)

    def curve(label: str) -> Curve:
        return scores.leads(label), scores.mean(label, "amplitude_ratio").value[:, column]

    limits = _ratio_limits([curve(label)[1] for label in scores.labels], 1.0)
    return by_family(comparison, scores.labels, curve, f"{variable}: amplitude over the truth's", limits, level=1.0)


def stability_curves(comparison: Comparison, variable: str) -> Figure:
    """Draw the share of cases whose error has stayed within the threshold, against lead time, a panel a family."""
    scores = comparison.scores
    column = scores.verification.variables.index(variable)

    def curve(label: str) -> Curve:
        steps, share = scores.share_stable(label)
        return scores.verification.time_step.lead_axis(steps)[0], 100 * share[:, column]

    threshold = scores.verification.threshold
    title = f"{variable}: cases with RMSE ≤ {threshold:g} std [%]"
    return by_family(comparison, scores.labels, curve, title, (-3.0, 103.0, False))


def conservation_curves(comparison: Comparison, metric: str, variable: str) -> Figure:
    """Draw root mean square over cases and seeds of a drift since the start, against lead time, a panel a family.

    metric: `mean_drift` or `mean_square_drift`. The drift of the truth is the broad grey line.
    """
    scores = comparison.scores
    column = scores.verification.variables.index(variable)

    def size(label: str, name: str) -> Array:
        values = np.stack([member.values[name][..., column] for member in scores.members[label]])
        there = np.isfinite(values)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = (np.where(there, values, 0.0) ** 2).sum((0, 1)) / there.sum((0, 1))
        failed = (scores.members[label][0].verified[..., column] & ~there).any((0, 1))
        return np.where(failed, np.nan, np.sqrt(mean))

    def curve(label: str) -> Curve:
        return scores.leads(label), size(label, metric)

    first = scores.labels[0]
    truth = scores.leads(first), size(first, f"truth_{metric}")
    unit = scores.verification.units[column]
    of = "area mean" if metric == "mean_drift" else "mean square, relative"
    title = f"{variable}: drift of the {of}"
    title += f" [{pretty_unit(unit)}]" if metric == "mean_drift" and unit != "1" else ""
    whole = float(scores.verification.magnitude[column]) if metric == "mean_drift" else 1.0
    limits = _drift_limits([curve(label)[1] for label in scores.labels], whole)
    return by_family(comparison, scores.labels, curve, title, limits, truth=truth)


def spectrum_curves(comparison: Comparison, variable: str) -> Figure:
    """Draw power against wavenumber at the last lead time with truth, a panel a family; the truth is broad and grey."""
    scores, verification = comparison.scores, comparison.verification
    axis = verification.wavenumbers
    shown = [label for label in scores.labels if scores.members[label][0].power is not None]
    if axis is None or not shown:
        raise MeshcastError(f"There are no spectra on a {verification.mesh.describe()}.")
    column = verification.variables.index(variable)
    first = scores.members[shown[0]][0]
    assert first.truth_power is not None
    place = int(np.flatnonzero(first.verified.any((0, 2)))[-1])
    lead = int(first.lead_steps[place])
    waves = axis.wavenumber > 0
    by_length = verification.mesh.domain.kind == "limited_area"
    x = (axis.wavelength if by_length else axis.wavenumber)[waves]

    def curve(label: str) -> Curve:
        return x, _power(scores, label, lead, column)[waves]

    unit = verification.units[column]
    title = f"{variable}, {lead_name(verification.time_step, lead)}: power"
    title += "" if unit == "1" else f" [({pretty_unit(unit)})²]"
    every = [member for label in shown for member in scores.members[label]]
    name = f"wavelength [{axis.length_units}]" if by_length else axis.label
    powers = [power[:, waves, column] for e in every for power in (e.power, e.truth_power) if power is not None]
    limits = _power_limits(powers, [e.truth_power[:, waves, column] for e in every if e.truth_power is not None])
    truth, along = (x, first.truth_power[place, waves, column]), Along(name, logarithmic=True, reverse=by_length)
    return by_family(comparison, shown, curve, title, limits, truth=truth, along=along)


def _power(scores: RowScores, label: str, lead: int, column: int) -> Array:
    """Return geometric mean [wavenumber] over seeds."""
    members = scores.members[label]
    powers = [m.power[m.lead_steps == lead][0, :, column] for m in members if m.power is not None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.log(powers).mean(0)))


def _error_limits(curves: Sequence[Array], size: float) -> Limits:
    """Return axis limits from the least error above rounding to the largest that counts; logarithmic over decades."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    values = values[values > ROUNDING * size]
    if not values.size:
        return 0.0, size, False
    low, high = float(values.min()), float(min(values.max(), MOST_STANDARD_DEVIATIONS * size))
    return (low / 1.5, high * 1.5, True) if high > 0.1 * MOST_LINEAR * low else (0.0, 1.05 * high, False)


def _ratio_limits(curves: Sequence[Array], best: float) -> Limits:
    """Return axis limits about the perfect value; beyond 2.5 a forecast is useless."""
    values = np.concatenate(curves)
    values = np.append(values[np.isfinite(values)], best)
    low, high = max(float(values.min()), -1.0), min(float(values.max()), 2.5)
    margin = 0.06 * (high - low) + 1e-3
    return low - margin, high + margin, False


def _power_limits(powers: Sequence[Array], truths: Sequence[Array]) -> Limits:
    """Return axis limits over twelve decades at most: below lies rounding, and far above the truth nothing counts."""
    every = np.concatenate([power[np.isfinite(power) & (power > 0)] for power in powers])
    if not every.size:
        return 1e-12, 1.0, True
    high = float(every.max())
    if truths and (most := MOST_STANDARD_DEVIATIONS**2 * float(np.nanmax(np.concatenate(truths)))) > 0:
        high = min(high, most)  # a row that blew up must not press all others to the ground
    return max(float(every.min()), 1e-12 * high) / 2, 3 * high, True


def _drift_limits(curves: Sequence[Array], whole: float) -> Limits:
    """Return axis limits over eight decades at most up to the largest drift, at most ten times the field's size."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return 1e-8 * whole, whole, True
    high = float(min(values.max(), 10 * whole))
    return max(float(values.min()), 1e-8 * whole, 1e-8 * high) / 2, 2 * high, True
