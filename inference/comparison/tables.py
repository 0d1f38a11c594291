"""Tables of a comparison: one line a row of it, all its seeds together, for HTML, LaTeX and CSV."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.comparison.label_scores import LabelScores
from inference.comparison.story import ComparisonStory, RowInfo
from inference.report.latex_tables import booktabs, document
from inference.report.score_tables import html_table, number, table_leads
from inference.scores.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

NONE = "–"
BETTER, WORSE = "∗", "†"


def ranking_rows(scores: LabelScores, story: ComparisonStory) -> list[list[str]]:
    """Cells of the ranking, best first: score, seeds, ratio to the reference, lead times won and lost, costs, settings.

    A line break in a cell is a newline; rows that did not forecast come last.
    """
    infos = {row.label: row for row in story.rows}
    ranked = scores.ranked()
    lines = []
    for label in [*ranked, *(label for label in infos if label not in ranked)]:
        info = infos[label]
        found = _scored(scores, story, label) if label in ranked else [NONE] * 4
        place = str(ranked.index(label) + 1) if found[0] != NONE else NONE
        lines.append([place, label, *found, *_about(info)])
    return lines


def ranking_head(story: ComparisonStory) -> list[str]:
    return [
        "", "row", "score", "median of seeds (range)", f"score / {story.reference}'s",
        f"lead times {BETTER} better, {WORSE} worse", "weights", "training [s]", "inference [ms]", "updates",
        "learning rate", "history", "status",
    ]  # fmt: skip


def ranking_html(scores: LabelScores, story: ComparisonStory) -> str:
    """The ranking as an HTML table."""
    rows = []
    for cells in ranking_rows(scores, story):
        marked = [escape(cell) for cell in cells]
        marked = [_small(cell) for cell in marked]
        if cells[1] == story.reference:
            marked[1] = f"<b>{marked[1]}</b>"
        rows.append(marked)
    return html_table(ranking_head(story), rows, escaped=True, css="scores ranking")


def _small(cell: str) -> str:
    """What stands below the first line in small type."""
    first, *more = cell.split("\n")
    return first + "".join(f"<br><small>{line}</small>" for line in more)


def lead_html(scores: LabelScores, story: ComparisonStory, metric: str, column: int) -> str:
    """A metric of one variable by row and lead time, rows by rank; marked where it differs from the reference's."""
    head, rows = lead_rows(scores, story, metric, column)
    return html_table(head, rows)


def lead_rows(
    scores: LabelScores, story: ComparisonStory, metric: str, column: int, most: int = 8
) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table by lead time."""
    verification = scores.verification
    steps = table_leads(scores.lead_steps(story.reference), verification.time_step, most)
    times, axis = verification.time_step.lead_axis(steps)
    rows = []
    for label in scores.ranked():
        own = scores.lead_steps(label)
        values = scores.mean(label, metric).value[:, column]
        marks = np.full(len(own), "", dtype=object)
        if label != story.reference:
            found = scores.contrast(label, story.reference, metric)
            at = np.searchsorted(own, found.lead_steps)
            marks[at] = np.where(found.better[:, column], BETTER, np.where(found.worse[:, column], WORSE, ""))
        cells = []
        for step in steps:
            place = np.flatnonzero(own == step)
            there = place.size and np.isfinite(values[place[0]])
            cells.append(f"{number(values[place[0]])}{marks[place[0]]}" if there else NONE)
        rows.append([label, *cells])
    return [axis, *(f"{time:g}" for time in times)], rows


def tuning_html(story: ComparisonStory) -> str:
    """Every trial, the chosen in bold; nothing without tuning."""
    if not story.trials:
        return ""
    labels = list(dict.fromkeys(trial.label for trial in story.trials))
    rows = []
    for label in labels:
        for trial in (trial for trial in story.trials if trial.label == label):
            words = ", ".join(f"{name.split('.')[-1]} {value:g}" if isinstance(value, float) else
                              f"{name.split('.')[-1]} {value}" for name, value in trial.settings.items())  # fmt: skip
            score = trial.status if trial.score is None else number(trial.score)
            seconds = NONE if trial.seconds is None else f"{trial.seconds:.0f}"
            cells = [escape(cell) for cell in (label, words, str(trial.updates), score, seconds, trial.reason)]
            rows.append([f"<b>{cell}</b>" if trial.chosen and place in (1, 3) else cell
                         for place, cell in enumerate(cells)])  # fmt: skip
    head = ("row", "settings", "updates", "validation score", "seconds", "")
    return html_table(head, rows, escaped=True)


def latex(scores: LabelScores, story: ComparisonStory) -> str:
    """The ranking and, for each variable, RMSE by lead time, as booktabs tables."""
    level = f"{100 * scores.verification.level:g} %"
    rows = ranking_rows(scores, story)
    caption = (
        f"{story.name}: geometric mean over lead times of {'nRMSE' if story.score == 'nrmse' else 'RMSE / std'}, mean "
        f"over seeds with {level} interval, and its ratio to that of {story.reference}."
    )
    head = ["row", f"score ({level})", "median", f"over {story.reference}'s ({level})"]
    cells = [[row[1], _in_brackets(row[2]), row[3].split("\n")[0], _in_brackets(row[4])] for row in rows]
    tables = [booktabs(head, cells, caption, "tab:ranking")]
    head = ["row", "weights", "train [s]", "infer [ms]", "updates", "rate", "history", "status"]
    cells = [[row[1], *(cell.split("\n")[0] for cell in row[6:13])] for row in rows]
    caption = (
        f"{story.name}: weights, seconds to train one seed, milliseconds of one step of one case, updates, learning "
        "rate, frames of history."
    )
    tables.append(booktabs(head, cells, caption, "tab:costs"))
    for column, variable in enumerate(scores.verification.variables):
        head, cells = lead_rows(scores, story, "rmse", column, most=6)
        unit = scores.verification.units[column]
        caption = (
            f"{METRICS['rmse'].with_unit(unit, variable)} by {head[0]}. {BETTER} lower, "
            f"{WORSE} higher than {story.reference}, p < {1 - scores.verification.level:.2g} after Holm's adjustment."
        )
        tables.append(booktabs(["row", *head[1:]], cells, caption, f"tab:rmse-{column + 1}"))
    return document(tables)


def _in_brackets(cell: str) -> str:
    """An interval below its value in brackets behind it."""
    first, *more = cell.split("\n")
    return f"{first} ({more[0].replace(' to ', ', ')})" if more else first


def tidy(scores: LabelScores, story: ComparisonStory) -> pd.DataFrame:
    """One line a row, metric, lead time and variable: mean over seeds, bounds, ratio to the reference, p after Holm."""
    import pandas as pd

    parts = []
    for label in scores.labels:
        for metric in scores.members[label][0].metrics:
            found = scores.mean(label, metric)
            steps = scores.lead_steps(label)
            for column, variable in enumerate(scores.verification.variables):
                part: dict[str, Any] = {
                    "row": label, "metric": metric, "variable": variable, "lead": steps,
                    "value": found.value[:, column], "lower": found.lower[:, column], "upper": found.upper[:, column],
                }  # fmt: skip
                if metric == "rmse" and label != story.reference:
                    contrast = scores.contrast(label, story.reference, metric)
                    at = np.isin(steps, contrast.lead_steps)
                    for name, values in (
                        ("ratio", contrast.ratio.value), ("ratio_lower", contrast.ratio.lower),
                        ("ratio_upper", contrast.ratio.upper), ("p", contrast.ratio.p), ("p_holm", contrast.adjusted),
                    ):  # fmt: skip
                        part[name] = np.full(len(steps), np.nan)
                        part[name][at] = values[:, column]
                parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _scored(scores: LabelScores, story: ComparisonStory, label: str) -> list[str]:
    """Score with interval, median and range of seeds, ratio with interval, lead times won and lost."""
    found, seeds = scores.ranking(label), scores.by_seed(label)
    score = _bounded(found.value, found.lower, found.upper)
    several = NONE
    if len(seeds) > 1:
        worst = np.where(np.isfinite(seeds), seeds, np.inf)
        several = f"{_or_failed(np.median(worst))}\n{number(worst.min())} to {_or_failed(worst.max())}, {len(seeds)}"
    if label == story.reference:
        return [score, several, "1", NONE]
    ratio = scores.ranking_ratio(label, story.reference)
    contrast = scores.contrast(label, story.reference)
    better, worse, every = (int(x.sum()) for x in (contrast.better, contrast.worse, np.isfinite(contrast.ratio.value)))
    clear = "" if not ratio.p < 1 - scores.verification.level else BETTER if ratio.value < 1 else WORSE
    compared = _bounded(ratio.value, ratio.lower, ratio.upper, clear)
    return [score, several, compared, f"{better} {BETTER}, {worse} {WORSE}\nof {every}"]


def _about(info: RowInfo) -> list[str]:
    """Weights, costs, settings and status."""
    weights = sum(info.parameters.values())
    fixed = info.parameters.get("fixed", 0)
    seconds = f"{np.median(info.training_seconds):.0f}" if info.training_seconds else NONE
    milliseconds = NONE if info.inference_seconds is None else number(1e3 * info.inference_seconds)
    return [
        f"{weights:,}" + (f"\n{fixed:,} fitted" if fixed else "") if weights else NONE,
        seconds,
        milliseconds,
        NONE if info.updates is None else f"{info.updates:,}",
        NONE if info.learning_rate is None else f"{info.learning_rate:g}",
        NONE if info.history is None else str(info.history),
        info.status + "".join(f"\n{reason}" for reason in info.reasons[:3]),
    ]


def _bounded(value: float | np.ndarray, lower: float | np.ndarray, upper: float | np.ndarray, mark: str = "") -> str:
    if not np.isfinite(value):
        return NONE
    bounds = f"\n{number(float(lower))} to {number(float(upper))}" if np.isfinite(lower) and np.isfinite(upper) else ""
    return f"{number(float(value))}{mark}{bounds}"


def _or_failed(value: float) -> str:
    return number(float(value)) if np.isfinite(value) else "failed"
