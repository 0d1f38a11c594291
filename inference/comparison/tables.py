"""Tables of a comparison: its numbers as cells of a page, as LaTeX, and as one tidy table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.comparison.record import Comparison, Interval, Row, Trial
from inference.report.latex_tables import booktabs, document
from inference.report.score_tables import number, table_leads
from inference.scores.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

NONE = "–"
BETTER, WORSE = "∗", "†"


@dataclass(frozen=True)
class Cell:
    """Holds one cell of the ranking, with what stands below it in small type."""

    text: str
    below: tuple[str, ...] = ()


def ranking_cells(comparison: Comparison, joint: str = " to ") -> list[dict[str, Cell]]:
    """Return the cells of each row by column, best row first, those without a score last.

    joint: between the bounds of an interval.
    """
    cells = []
    for place, row in enumerate(comparison.ranked, 1):
        known = row.score.value is not None
        first = {"": Cell(str(place) if known else NONE), "row": Cell(row.label)}
        cells.append(first | _scores(comparison, row, joint) | _about(row))
    return cells


def _scores(comparison: Comparison, row: Row, joint: str) -> dict[str, Cell]:
    """Return score with interval, median and range of seeds, ratio with interval, lead times won and lost."""
    score, seeds, reference = row.score, row.seed_scores, comparison.reference
    several = Cell(NONE)
    if len(seeds) > 1:
        found = (float(value) for value in (np.median(seeds), seeds.min(), seeds.max()))
        median, low, high = (number(value) if np.isfinite(value) else "failed" for value in found)
        several = Cell(median, (f"{low} to {high}, {len(seeds)}",))
    ratio, leads = Cell("1"), Cell(NONE)
    if row.label != reference:
        clear = score.p is not None and score.p < 1 - comparison.verification.level
        mark = (BETTER if (score.ratio or 0.0) < 1 else WORSE) if clear else ""
        ratio = _bounded(score.ratio, score.ratio_interval, joint, mark)
        if row.forecast_seeds:
            leads = Cell(f"{score.better} {BETTER}, {score.worse} {WORSE}", (f"of {score.compared}",))
    return {
        "score": _bounded(score.value, score.interval, joint),
        "median of seeds (range)": several,
        f"score / {reference}'s": ratio,
        f"lead times {BETTER} better, {WORSE} worse": leads,
    }


def _about(row: Row) -> dict[str, Cell]:
    weights, fixed = sum(row.parameters.values()), row.parameters.get("fixed", 0)
    seconds, rate = row.training_seconds, row.of_training("learning_rate")
    return {
        "weights": Cell(f"{weights:,}", (f"{fixed:,} fitted",) if fixed else ()) if weights else Cell(NONE),
        "training [s]": Cell(f"{np.median(seconds):.0f}" if seconds else NONE),
        "inference [ms]": Cell(NONE if row.inference_seconds is None else number(1e3 * row.inference_seconds)),
        "updates": Cell(NONE if row.updates is None else f"{row.updates:,}"),
        "learning rate": Cell(NONE if rate is None else f"{rate:g}"),
        "history": Cell(NONE if row.history is None else str(row.history)),
        "status": Cell(row.status, row.reasons[:3]),
    }


def lead_rows(comparison: Comparison, metric: str, column: int, most: int = 8) -> tuple[list[str], list[list[str]]]:
    """Return head and cells of a metric of one variable by row and lead time, rows by rank.

    Marked where a row differs significantly from the reference.
    """
    verification, scores, reference = comparison.verification, comparison.scores, comparison.reference
    steps = table_leads(scores.lead_steps(reference), verification.time_step, most)
    times, axis = verification.time_step.lead_axis(steps)
    rows = []
    for label in (row.label for row in comparison.ranked if row.forecast_seeds):
        leads = scores.lead_steps(label)
        values = dict(zip(leads.tolist(), scores.mean(label, metric).value[:, column].tolist(), strict=True))
        marks: dict[int, str] = {}
        if label != reference:
            found = scores.contrast(label, reference, metric)
            signs = np.where(found.better[:, column], BETTER, np.where(found.worse[:, column], WORSE, ""))
            marks = dict(zip(found.lead_steps.tolist(), signs.tolist(), strict=True))
        finite = {step: value for step, value in values.items() if np.isfinite(value)}
        rows.append(
            [label, *(f"{number(finite[k])}{marks.get(k, '')}" if k in finite else NONE for k in steps.tolist())]
        )
    return [axis, *(f"{time:g}" for time in times)], rows


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return every trial row by row, its settings, score and seconds as text."""
    labels = list(dict.fromkeys(trial.label for trial in trials))
    return [
        asdict(trial)
        | {
            "settings": spelt(trial.settings),
            "score": _score_of(trial),
            "seconds": NONE if trial.seconds is None else f"{trial.seconds:.0f}",
        }
        for trial in sorted(trials, key=lambda trial: labels.index(trial.label))
    ]


def _score_of(trial: Trial) -> str:
    if trial.score is None:
        return trial.status
    worse = trial.counts_as > trial.score
    return number(trial.score) + (f", counts as {number(trial.counts_as)} for its long rollouts died" if worse else "")


def energy_rows(comparison: Comparison) -> list[list[str]]:
    """Return what each row's fits and trials took, with column heads first; nothing where nobody counted it."""
    counted = [(row.label, row.energy) for row in comparison.rows if row.energy is not None]
    if not counted:
        return []
    columns = {"energy [kWh]": "kwh", "CO2 [g]": "grams_co2", "cost": "cost"}
    known = {head: name for head, name in columns.items() if any(getattr(e, name) is not None for _, e in counted)}
    rows = [
        [label, *(_amount(getattr(energy, name)) for name in known.values()), energy.method, str(energy.uncounted)]
        for label, energy in counted
    ]
    return [["row", *known, "how", "fits not counted"], *rows]


def _amount(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def spelt(settings: Mapping[str, Any]) -> str:
    """Return settings by the last name of their path, as `learning_rate 0.001, noise 0`."""
    words = ((path.split(".")[-1], value) for path, value in settings.items())
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in words)


def latex(comparison: Comparison) -> str:
    """Return booktabs tables: the ranking, what rows cost, and RMSE by lead time of each variable."""
    verification, name, reference = comparison.verification, comparison.name, comparison.reference
    level = f"{100 * verification.level:g} %"
    rows = ranking_cells(comparison, ", ")
    caption = (
        f"{name}: geometric mean over lead times of {'nRMSE' if comparison.scores.kind == 'nrmse' else 'RMSE / std'}, "
        f"mean over seeds with {level} interval, and its ratio to that of {reference}."
    )
    ratio = f"score / {reference}'s"
    head = ["row", f"score ({level})", "median", f"over {reference}'s ({level})"]
    cells = [[row["row"].text, _in_brackets(row["score"]), row["median of seeds (range)"].text,
              _in_brackets(row[ratio])] for row in rows]  # fmt: skip
    tables = [booktabs(head, cells, caption, "tab:ranking")]
    head = ["row", "weights", "train [s]", "infer [ms]", "updates", "rate", "history", "status"]
    names = ("row", "weights", "training [s]", "inference [ms]", "updates", "learning rate", "history", "status")
    caption = (
        f"{name}: weights, seconds to train one seed, milliseconds of one step of one case, updates, learning rate, "
        "frames of history."
    )
    tables.append(booktabs(head, [[row[column].text for column in names] for row in rows], caption, "tab:costs"))
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        head, cells = lead_rows(comparison, "rmse", column, most=6)
        caption = (
            f"{METRICS['rmse'].with_unit(unit, variable)} by {head[0]}. {BETTER} lower, "
            f"{WORSE} higher than {reference}, p < {1 - verification.level:.2g} after Holm's adjustment."
        )
        tables.append(booktabs(["row", *head[1:]], cells, caption, f"tab:rmse-{column + 1}"))
    return document(tables)


def tidy(comparison: Comparison) -> pd.DataFrame:
    """Return a line a row, metric, lead time and variable: mean, bounds, ratio to the reference's, p after Holm."""
    import pandas as pd

    scores, reference = comparison.scores, comparison.reference
    tables = []
    for label in scores.labels:
        for metric in scores.members[label][0].metrics:
            found = scores.mean(label, metric)
            steps = scores.lead_steps(label)
            for column, variable in enumerate(scores.verification.variables):
                table: dict[str, Any] = {
                    "row": label, "metric": metric, "variable": variable, "lead": steps,
                    "value": found.value[:, column], "lower": found.lower[:, column], "upper": found.upper[:, column],
                }  # fmt: skip
                if metric == "rmse" and label != reference:
                    contrast = scores.contrast(label, reference, metric)
                    at = np.isin(steps, contrast.lead_steps)
                    for name, values in (
                        ("ratio", contrast.ratio.value), ("ratio_lower", contrast.ratio.lower),
                        ("ratio_upper", contrast.ratio.upper), ("p", contrast.ratio.p), ("p_holm", contrast.adjusted),
                    ):  # fmt: skip
                        table[name] = np.full(len(steps), np.nan)
                        table[name][at] = values[:, column]
                tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def _in_brackets(cell: Cell) -> str:
    return cell.text + "".join(f" ({text})" for text in cell.below)


def _bounded(value: float | None, interval: Interval | None, joint: str, mark: str = "") -> Cell:
    if value is None:
        return Cell(NONE)
    return Cell(number(value) + mark, () if interval is None else (joint.join(map(number, interval)),))
