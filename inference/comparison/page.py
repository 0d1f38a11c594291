"""The page of a comparison: ranking, how the rows came about, pictures by family, and how the numbers were made."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from inference.comparison import seed_bootstrap
from inference.comparison.label_scores import LabelScores
from inference.comparison.story import ComparisonStory
from inference.comparison.tables import BETTER, WORSE, lead_html, ranking_html, tuning_html
from inference.report.page import Image, Notes, data_facts, document, facts_table, left_out, picture
from inference.report.score_tables import equivalent_table, html_table, sentence
from inference.scores.metrics import METRICS

SECTIONS = {
    "error": "Error by lead time",
    "spectra": "Spectra",
    "stability": "Stability",
    "conservation": "What the forecasts keep",
    "samples": "Samples side by side",
    "cost": "Error against cost",
    "training": "Training",
}


def page(scores: LabelScores, comparison: ComparisonStory, story: Notes, images: Sequence[Image]) -> str:
    """The whole HTML text."""
    body = [f"<h1>{escape(story.title)}</h1>"]
    if story.summary:
        body.append(f"<p class=lead>{escape(story.summary)}</p>")
    body += [_findings(scores, comparison), "<h2>Ranking</h2>", ranking_html(scores, comparison)]
    body += [f"<p class=note>{escape(sentence)}</p>" for sentence in _of_ranking(scores, comparison)]
    body += [picture(image) for image in images if image.section == "ranking"]
    body += [_differences(comparison), _tuning(comparison)]
    for section, title in SECTIONS.items():
        pictures = [picture(image) for image in images if image.section == section]
        tables = [_lead_tables(scores, comparison), equivalent_table(scores.verification)] if section == "error" else []
        if pictures or tables:
            body += [f"<h2>{title}</h2>", *pictures, *tables]
    body += [left_out(scores.verification), facts_table(_facts(scores, comparison), story)]
    return document(story.title, body, _STYLE)


def _findings(scores: LabelScores, comparison: ComparisonStory) -> str:
    """Who is best, who is not clearly worse than the best, and who was lost."""
    ranked = [label for label in scores.ranked() if scores.ranking(label).value > 0]  # NaN is not
    if not ranked:
        return "<ul><li>No row has a finite score.</li></ul>"
    best, alpha = ranked[0], 1 - scores.verification.level
    level = [label for label in ranked[1:] if not scores.ranking_ratio(label, best).p < alpha]
    items = [f"{best} has the lowest score, {scores.ranking(best).value:.3g}."]
    if level:
        items.append(f"Not significantly above it: {', '.join(level)}.")
    if scores.verification.variables and len(ranked) > 1:
        beaten = [label for label in ranked if label != comparison.reference and _clearly(scores, comparison, label, 1)]
        ahead = [label for label in ranked if label != comparison.reference and _clearly(scores, comparison, label, -1)]
        if comparison.reference in ranked:
            items.append(f"Significantly below {comparison.reference}: {', '.join(ahead) or 'none'}.")
            items.append(f"Significantly above {comparison.reference}: {', '.join(beaten) or 'none'}.")
    lost = [row for row in comparison.rows if row.status in ("diverged", "failed")]
    items += [f"{row.label} {row.status}{': ' * bool(row.reasons)}{'; '.join(row.reasons)}." for row in lost]
    note = f"Of the score over all lead times: two-sided p < {alpha:.2g}, not adjusted for the number of rows."
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + f"</ul><p class=note>{escape(note)}</p>"


def _clearly(scores: LabelScores, comparison: ComparisonStory, label: str, sign: int) -> bool:
    ratio = scores.ranking_ratio(label, comparison.reference)
    return bool(ratio.p < 1 - scores.verification.level) and (ratio.value > 1) == (sign > 0)


def _of_ranking(scores: LabelScores, comparison: ComparisonStory) -> list[str]:
    """What the columns of the ranking are."""
    level = f"{100 * scores.verification.level:g} %"
    alpha = f"{1 - scores.verification.level:.2g}"
    ranked = "nRMSE" if comparison.score == "nrmse" else "RMSE over the truth's standard deviation"
    texts = [
        f"Score: geometric mean over lead times, variables and seeds of {ranked}, with its {level} interval below; "
        "lower is better. Beside it the median of the seeds, their range and how many there are.",
        f"Over {comparison.reference}'s: ratio of scores on the same starts, with its interval; {BETTER} below 1 and "
        f"{WORSE} above 1 with p < {alpha}. Lead times: at how many RMSE is lower ({BETTER}) or higher ({WORSE}) than "
        f"{comparison.reference}'s with p < {alpha} after Holm's adjustment over the lead times of a variable.",
        "Training: median over seeds of the seconds one fit took, first guess and validation included. Inference: "
        "milliseconds of the processor for one step of one case.",
    ]
    counts = {len(members) for label, members in scores.members.items() if comparison_seeds(comparison, label)}
    texts += [seed_bootstrap.describe(count, scores.verification.level) for count in sorted(counts)]
    if any(not comparison_seeds(comparison, label) for label in scores.labels):
        texts.append("Closed forms, checkpoints and forecasts of others have one set of weights; starts alone vary.")
    return texts


def comparison_seeds(comparison: ComparisonStory, label: str) -> int:
    """How many seeds a row was trained with, none for closed forms and what others made."""
    return next(len(row.seeds) for row in comparison.rows if row.label == label)


def _differences(comparison: ComparisonStory) -> str:
    """What is not alike between rows: a fair comparison says so before its results are quoted."""
    rows = []
    for row in comparison.rows:
        words = [*row.differences, *([f"regridding: {row.regridding}"] if row.regridding else [])]
        if words:
            rows.append((row.label, "; ".join(words)))
    histories = {row.history for row in comparison.rows if row.history is not None}
    updates = {row.updates for row in comparison.rows if row.updates is not None}
    alike = [
        f"History: {_these(histories)} frame(s) for all rows that have one." if len(histories) == 1
        else f"History differs between rows: {_these(histories)} frames.",
        f"Updates: {_these(updates)} for all trained rows." if len(updates) == 1
        else f"Updates differ between rows: {_these(updates)}." if updates else "",
    ]  # fmt: skip
    listed = "".join(f"<li>{escape(text)}</li>" for text in [*filter(None, alike), *comparison.notes])
    table = html_table(("row", "differs in"), rows) if rows else "<p>No row differs in history, budget or grid.</p>"
    return f"<h2>How rows differ</h2><ul>{listed}</ul>{table}"


def _these(numbers: set[int]) -> str:
    return ", ".join(f"{number:,}" for number in sorted(numbers)) or "none"


def _tuning(comparison: ComparisonStory) -> str:
    table = tuning_html(comparison)
    if not table:
        return "<h2>Tuning</h2><p>No settings were tuned.</p>"
    counts: dict[str, int] = {}
    for trial in comparison.trials:
        counts[trial.label] = counts.get(trial.label, 0) + 1
    each = f"{_these(set(counts.values()))} trials for each of {len(counts)} rows"
    return (
        f"<h2>Tuning</h2><details><summary>{each}, chosen on the validation part alone</summary>{table}</details>"
    )  # fmt: skip


def _lead_tables(scores: LabelScores, comparison: ComparisonStory) -> str:
    parts = []
    verification = scores.verification
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        title = sentence(METRICS["rmse"].with_unit(unit, variable))
        table = lead_html(scores, comparison, "rmse", column)
        parts.append(f"<details open><summary>{escape(title)}</summary>{table}</details>")
    note = f"{BETTER} lower, {WORSE} higher than {comparison.reference}'s, p after Holm's adjustment over lead times."
    return "".join(parts) + f"<p class=note>{escape(note)}</p>"


def _facts(scores: LabelScores, comparison: ComparisonStory) -> list[tuple[str, str]]:
    draws = scores.draws_of(comparison.reference if comparison.reference in scores.labels else scores.labels[0])
    what = f"{len(draws.counts)} resamples of {draws.num_blocks:.3g} {draws.unit}, the same for the rows compared"
    return [
        *data_facts(scores.verification),
        ("intervals", what),
        ("p-values", "two-sided, Student's t on logarithms of scores; adjusted over lead times after Holm (1979)"),
    ]


_STYLE = """
main { max-width: 78rem; }
p, ul, table.facts, figure { max-width: 62rem; }
table.ranking { font-size: .8rem; }
table.ranking td { white-space: normal; }
table.ranking td:nth-child(n+3):nth-child(-n+6) { white-space: nowrap; }
"""
