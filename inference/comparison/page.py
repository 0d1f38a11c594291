"""The page of a comparison: the answer, the ranking, how the rows came about, pictures by family, and the method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from inference.comparison.findings import about_intervals, alike, answer, findings, score_name, these
from inference.comparison.record import Comparison
from inference.comparison.tables import BETTER, WORSE, lead_rows, ranking_cells, trial_rows
from inference.report.page import Image, Notes, data_facts, missing, noted_facts, render
from inference.report.score_tables import equivalent_table, number, sentence
from inference.scores.metrics import METRICS

TEMPLATE = Path(__file__).parent / "templates" / "comparison.html"
SECTIONS = {
    "error": "Error by lead time",
    "spectra": "Spectra",
    "stability": "Stability",
    "conservation": "What the forecasts keep",
    "samples": "Samples side by side",
    "cost": "Error against cost",
    "training": "Training",
}


def page(comparison: Comparison, images: Sequence[Image], title: str = "") -> str:
    """Return the HTML of the whole page."""
    verification = comparison.verification
    notes = Notes(
        title or f"{comparison.name}: {len(comparison.rows)} rows compared", answer(comparison), comparison.command
    )
    return render(
        TEMPLATE,
        notes=notes,
        comparison=comparison,
        findings=findings(comparison),
        alpha=f"{1 - verification.level:.2g}",
        level=f"{100 * verification.level:g} %",
        score_name=score_name(comparison),
        better=BETTER,
        worse=WORSE,
        ranking=ranking_cells(comparison),
        intervals=about_intervals(comparison),
        alike=alike(comparison.rows),
        trials=trial_rows(comparison),
        trials_each=these(set(Counter(trial.label for trial in comparison.trials).values())),
        number=number,
        images={name: [image for image in images if image.section == name] for name in ("ranking", *SECTIONS)},
        sections=SECTIONS,
        lead_tables=_lead_tables(comparison),
        equivalent=equivalent_table(verification),
        missing=missing(verification),
        known=_facts(comparison, notes),
    )


def _lead_tables(comparison: Comparison) -> list[tuple[str, tuple[list[str], list[list[str]]]]]:
    """Return title and cells of RMSE by lead time, for each variable."""
    verification = comparison.verification
    names = zip(verification.variables, verification.units, strict=True)
    titles = [sentence(METRICS["rmse"].with_unit(unit, variable)) for variable, unit in names]
    return [(title, lead_rows(comparison, "rmse", column)) for column, title in enumerate(titles)]


def _facts(comparison: Comparison, notes: Notes) -> list[tuple[str, str]]:
    draws = comparison.scores.draws_of(comparison.reference)
    return [
        *data_facts(comparison.verification),
        (
            "intervals",
            f"{len(draws.counts)} resamples of {draws.num_blocks:.3g} {draws.unit}, the same for the rows compared",
        ),
        ("p-values", "two-sided, Student's t on logarithms of scores; adjusted over lead times after Holm (1979)"),
        *noted_facts(notes),
    ]
