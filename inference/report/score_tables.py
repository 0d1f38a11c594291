"""Scores as tables of a page: one row an emulator, the best in bold, intervals in small type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from emulator.scores import ROUNDING
from inference.scores.dataset import to_dataset
from inference.scores.equivalent_truncation import equivalents, solver_truncations
from inference.scores.metrics import METRICS, shown_in
from inference.scores.scorecard import Verification

if TYPE_CHECKING:
    import xarray as xr

SHOWN_LEADS = {
    "hours": (1, 2, 3, 6, 12, 24, 48, 72, 96, 120, 168, 240),
    "months": (1, 2, 3, 6, 12, 24, 36, 60, 120),
    "": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
}
SUMMARY = ["stable_steps", "stable_to_the_end", "num_starts", "num_failed", "score", "score_lower", "score_upper"]


@dataclass(frozen=True)
class Table:
    """A table of a page: its rows of text, or of Markup where a cell holds more, a note below and a title above."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    title: str = ""
    opened: bool = True


def summary_table(verification: Verification) -> Table:
    """Return a row for each emulator: cases, and of each variable the stable steps and the score over leads."""
    names, scored = verification.variables, verification.about_zero.all()
    which = [f" of {name}" for name in names] if len(names) > 1 else [""]
    head = ["emulator", "cases", "stopped", *(f"stable steps{of}, median" for of in which)]
    if scored:
        first = verification.emulators[0]
        last = first.lead_steps[first.scored_leads()].max(initial=1)
        head += [f"nRMSE{of}, mean of steps 1 to {last}" for of in which]
    dataset, rows = to_dataset(verification), []
    for label in dataset["emulator"].values:
        every = dataset[SUMMARY].sel(emulator=label)
        found = [every.sel(variable=name) for name in names]
        cases = dict.fromkeys(str(np.isfinite(one["stable_steps"].values).sum()) for one in found)
        stopped = dict.fromkeys(f"{np.nanmax(one['num_failed'], initial=0):.0f}" for one in found)
        rows.append([label, ", ".join(cases), ", ".join(stopped), *map(_stable, found)])
        if scored:
            bounds = zip(*(every[name].values for name in ("score", "score_lower", "score_upper")), strict=True)
            rows[-1] += [_with_interval(*each) for each in bounds]
    threshold = ", ".join(
        f"{verification.threshold * scale:.3g}{'' if unit == '1' else ' ' + unit} for {name}"
        for name, unit, scale in zip(verification.variables, verification.units, verification.scale, strict=True)
    )
    note = (
        f"Stable steps: until RMSE passes {verification.threshold:g} of the truth's standard deviation ({threshold}); "
        "≥ where most cases never did. Stopped: cases whose forecast failed before its end."
    )
    if scored:
        note += " nRMSE: the geometric mean over steps of the mean over cases of ‖error‖ / ‖truth‖."
    return Table(head, rows, note)


def _stable(scores: xr.Dataset) -> str:
    """Return the median of one variable's stable steps, at least which where most cases never pass the threshold."""
    steps = scores["stable_steps"].values
    known = steps[np.isfinite(steps)]
    open_end = "≥ " if scores["stable_to_the_end"] > 0.5 * scores["num_starts"] else ""
    return f"{open_end}{np.median(known) if known.size else np.nan:g}"


def lead_tables(verification: Verification) -> list[Table]:
    """Return a table for each variable and metric: emulators by lead time, the best in bold."""
    dataset, tables = to_dataset(verification), []
    emulators = dataset.attrs["verification"]["emulators"]
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        for name in shown_in("table"):
            metric, shown = METRICS[name], [label for label, known in emulators.items() if name in known["metrics"]]
            if shown and (verification.about_zero[column] or not metric.relative):
                arrays = [name, f"{name}_lower", f"{name}_upper", "num_failed", "num_cases"]
                scores = dataset[arrays].sel(emulator=shown, variable=variable)
                rounding = ROUNDING * (verification.magnitude[column] if metric.unit is None else 1.0)
                cells = _lead_cells(scores, name, verification.time_step, rounding)
                title = sentence(metric.with_unit(unit, variable))
                tables.append(Table(*cells, title=title, opened=name == "rmse"))
    return tables


def _lead_cells(
    scores: xr.Dataset, name: str, time_step: TimeStep, rounding: float
) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a metric's table from arrays [emulator, lead]."""
    forecast = np.isfinite(scores["num_cases"].values).any(0)
    leads = table_leads(scores["lead"].values[forecast], time_step)
    arrays = [scores.sel(lead=leads)[array].values for array in (name, f"{name}_lower", f"{name}_upper", "num_failed")]
    metric = METRICS[name]
    perfect = np.nan if metric.perfect is None else metric.perfect
    distance = np.maximum(np.abs(arrays[0] - perfect), rounding)
    show = _correlation if metric.perfect == 1.0 and metric.better == "larger" else partial(_error, rounding=rounding)
    rows = []
    for row, label in enumerate(scores["emulator"].values):
        cells = [label]
        for column, (value, lower, upper, failed) in enumerate(zip(*(array[row] for array in arrays), strict=True)):
            text = f"{failed:.0f} stopped" if failed > 0 else _with_interval(value, lower, upper, show)
            far = distance[:, column]
            best = len(far) > 1 and np.isfinite(far[row]) and far[row] == np.nanmin(far)
            cells.append(Markup("<b>{}</b>").format(text) if best else text)
        rows.append(cells)
    return _lead_head(time_step, leads), rows


def _lead_head(time_step: TimeStep, leads: NDArray[np.int64]) -> list[str]:
    times, label = time_step.lead_axis(leads)
    return [label, *(f"{time:g}" for time in times)]


def equivalent_table(verification: Verification) -> Table | None:
    """Return what each emulator is worth as a solver, by lead time; None without two solvers to measure it by."""
    found = equivalents(verification)
    if not found:
        return None
    leads = table_leads(np.unique([step for by_lead in found.values() for step in by_lead]), verification.time_step)
    rows = [[label, *(str(by_lead.get(step, "–")) for step in leads.tolist())] for label, by_lead in found.items()]
    solvers = sorted(set(solver_truncations(verification).values()))
    note = (
        "The truncation of the solver whose error equals the emulator's, the error being the root mean square over "
        f"variables of RMSE over the truth's standard deviation; between {', '.join(f'T{t}' for t in solvers)} the "
        "logarithm of the error is taken as linear. Solvers started from the same nodes."
    )
    return Table(_lead_head(verification.time_step, leads), rows, note, "Equivalent truncation")


def table_leads(steps: NDArray[np.int64], time_step: TimeStep, most: int = 8) -> NDArray[np.int64]:
    """Return the leads a table shows: all of a few, else round ones and the last."""
    if len(steps) <= most:
        return steps
    values, unit = time_step.lead_times(steps)
    if unit == "days" and time_step.count < 86_400:
        values, unit = values * 24, "hours"
    dated = unit in ("hours", "months")
    round_ones = steps[np.isin(np.round(values if dated else steps, 6), SHOWN_LEADS[unit if dated else ""])]
    chosen = np.unique(np.append(round_ones[:most], steps[-1]))
    return chosen if len(chosen) > 2 else steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]


def sentence(title: str) -> str:
    """Return a title with a capital, but nRMSE as it is."""
    return title if title[1:2].isupper() else title[0].upper() + title[1:]


def number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def _error(value: float, rounding: float) -> str:
    return "≈ 0" if abs(value) <= rounding else number(value)  # nothing but float32's rounding


def _correlation(value: float) -> str:
    """Return a correlation; near one, by how much it falls short."""
    return f"1 − {1.0 - value:.0e}" if 0.9995 <= value < 1.0 else number(value)


def _with_interval(value: float, lower: float, upper: float, show: Callable[[float], str] = number) -> str:
    """Return the number, and below it in small type its interval."""
    bounds = np.isfinite(lower) and np.isfinite(upper) and show(lower) != show(upper)
    return Markup("{}<br><small>{} to {}</small>").format(*map(show, (value, lower, upper))) if bounds else show(value)
