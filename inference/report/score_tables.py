"""Scores as HTML tables: one row an emulator, the best in bold, intervals in small type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from emulator.scores import ROUNDING
from inference.scores.equivalent_truncation import equivalents, solver_truncations
from inference.scores.metrics import METRICS, shown_in
from inference.scores.scorecard import ForecastScores, Verification

SHOWN_LEADS = {
    "hours": (1, 2, 3, 6, 12, 24, 48, 72, 96, 120, 168, 240),
    "months": (1, 2, 3, 6, 12, 24, 36, 60, 120),
    "": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
}


def summary_table(verification: Verification) -> str:
    """One row an emulator and variable: cases, stable steps and the score over leads."""
    head = ["emulator", "variable", "cases", "stopped", "stable steps, median"]
    scored = verification.about_zero.all()
    if scored:
        first = verification.emulators[0]
        head.append(f"nRMSE, mean of steps 1 to {first.lead_steps[first.scored_leads()].max(initial=1)}")
    rows = []
    for emulator in verification.emulators:
        lower, upper = verification.interval(emulator.label, "score")
        for column, variable in enumerate(verification.variables):
            steps = emulator.stable_steps[:, column]
            median = float(np.nanmedian(steps)) if np.isfinite(steps).any() else np.nan
            open_end = "≥ " if emulator.censored[:, column].mean() > 0.5 else ""
            score = _with_interval(emulator.score()[column], lower[column], upper[column])
            cells = (escape(emulator.label), escape(variable), f"{int(emulator.verified[..., column].any(1).sum())}")
            stopped = int(emulator.failed[:, column].max(initial=0))
            rows.append((*cells, f"{stopped}", f"{open_end}{median:g}", *([score] if scored else [])))
    threshold = ", ".join(
        f"{verification.threshold * scale:.3g}{'' if unit == '1' else ' ' + unit} for {name}"
        for name, unit, scale in zip(verification.variables, verification.units, verification.scale, strict=True)
    )
    note = (
        f"Stable steps: until RMSE passes {verification.threshold:g} of the truth's standard deviation ({threshold}); "
        "≥ where most cases never did. Stopped: cases whose forecast failed before its end."
    )
    if scored:
        note += " The last column is the geometric mean over steps of the mean over cases of nRMSE = ‖error‖ / ‖truth‖."
    return html_table(head, rows, escaped=True) + f"<p class=note>{escape(note)}</p>"


def lead_tables(verification: Verification) -> str:
    """A table a variable and metric: emulators by lead time, the best in bold."""
    parts = []
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        for metric in shown_in("table"):
            shown = [e for e in verification.emulators if metric in e.metrics]
            about = METRICS[metric]
            if shown and (verification.about_zero[column] or not about.relative):
                opened = " open" if metric == "rmse" else ""
                table = _lead_table(verification, shown, metric, column)
                title = escape(sentence(about.with_unit(unit, variable)))
                parts.append(f"<details{opened}><summary>{title}</summary>{table}</details>")
    return "\n".join(parts)


def _lead_table(verification: Verification, shown: Sequence[ForecastScores], metric: str, column: int) -> str:
    leads = table_leads(np.unique(np.concatenate([e.lead_steps for e in shown])), verification.time_step)
    values, bounds = [], []
    for emulator in shown:
        place = np.searchsorted(emulator.lead_steps, leads).clip(0, len(emulator.lead_steps) - 1)
        there = emulator.lead_steps[place] == leads
        lower, upper = verification.interval(emulator.label, metric)
        values.append(np.where(there, emulator.mean(metric)[place, column], np.nan))
        bounds.append((lower[place, column], upper[place, column], emulator.failed[place, column]))
    about = METRICS[metric]
    rounding = ROUNDING * (verification.magnitude[column] if about.dimensional else 1.0)
    perfect = np.nan if about.perfect is None else about.perfect
    distance = np.maximum(np.abs(np.array(values) - perfect), rounding)
    show = _correlation if about.perfect == 1.0 and about.better == "larger" else partial(_error, rounding=rounding)
    rows = []
    for emulator, own, (lower, upper, failed), far in zip(shown, values, bounds, distance, strict=True):
        cells = [escape(emulator.label)]
        for k, value in enumerate(own):
            text = f"{failed[k]} stopped" if failed[k] else _with_interval(value, lower[k], upper[k], show)
            best = np.isfinite(far[k]) and far[k] == np.nanmin(distance[:, k])
            cells.append(f"<b>{text}</b>" if best and len(shown) > 1 else text)
        rows.append(cells)
    times, label = verification.time_step.lead_axis(leads)
    head = (label, *(f"{time:g}" for time in times))
    return html_table(head, rows, escaped=True)


def equivalent_table(verification: Verification) -> str:
    """What each emulator is worth as a solver, by lead time; nothing without two solvers to measure it by."""
    found = equivalents(verification)
    if not found:
        return ""
    leads = table_leads(np.unique([step for own in found.values() for step in own]), verification.time_step)
    rows = [
        [label, *(str(own[step]) if step in own else "–" for step in leads.tolist())] for label, own in found.items()
    ]
    times, axis = verification.time_step.lead_axis(leads)
    solvers = sorted(set(solver_truncations(verification).values()))
    note = (
        "The truncation of the solver whose error equals the emulator's, the error being the root mean square over "
        f"variables of RMSE over the truth's standard deviation; between {', '.join(f'T{t}' for t in solvers)} the "
        "logarithm of the error is taken as linear. Solvers started from the same nodes."
    )
    head = (axis, *(f"{time:g}" for time in times))
    return f"<h3>Equivalent truncation</h3>{html_table(head, rows)}<p class=note>{escape(note)}</p>"


def table_leads(steps: NDArray[np.int64], time_step: TimeStep, most: int = 8) -> NDArray[np.int64]:
    """The leads a table shows: all of a few, else round ones and the last."""
    if len(steps) <= most:
        return steps
    values, unit = time_step.lead_times(steps)
    if unit == "days" and time_step.count < 86_400:
        values, unit = values * 24, "hours"
    dated = unit in ("hours", "months")
    round_ones = steps[np.isin(np.round(values if dated else steps, 6), SHOWN_LEADS[unit if dated else ""])]
    chosen = np.unique(np.append(round_ones[:most], steps[-1]))
    return chosen if len(chosen) > 2 else steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], escaped: bool = False, css: str = "scores") -> str:
    """A table that scrolls by itself where the page is narrow."""
    clean: Callable[[str], str] = (lambda text: text) if escaped else escape
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{clean(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<div class=wide><table class="{css}">{header}<tbody>{body}</tbody></table></div>'


def sentence(title: str) -> str:
    """With a capital, but nRMSE as it is."""
    return title if title[1:2].isupper() else title[0].upper() + title[1:]


def number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def _error(value: float, rounding: float) -> str:
    """An error, or nothing but float32's rounding."""
    return "≈ 0" if abs(value) <= rounding else number(value)


def _correlation(value: float) -> str:
    """A correlation; near one, by how much it falls short."""
    return f"1 − {1.0 - value:.0e}" if 0.9995 <= value < 1.0 else number(value)


def _with_interval(value: float, lower: float, upper: float, show: Callable[[float], str] = number) -> str:
    """The number, and below it in small type its interval."""
    bounds = np.isfinite(lower) and np.isfinite(upper) and show(lower) != show(upper)
    return show(value) + (f"<br><small>{show(lower)} to {show(upper)}</small>" if bounds else "")
