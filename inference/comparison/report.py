"""The report of a comparison: one HTML file that stands alone, with pictures, tables and LaTeX beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.fields import Fields
from graphs.atomic_file import atomic_file, output_folder, write_text
from inference.comparison import curves, overview_plots
from inference.comparison.climate_table import climate_cells, climate_findings
from inference.comparison.findings import about_intervals, alike, answer, findings, score_name, these
from inference.comparison.record import Comparison
from inference.comparison.samples import samples
from inference.comparison.tables import BETTER, WORSE, energy_rows, latex, lead_rows, ranking_cells, tidy, trial_rows
from inference.pictures import score_curves, style
from inference.report.page import Image, Notes, data_facts, missing, noted_facts, render
from inference.report.score_tables import equivalent_table, number, sentence
from inference.scores.metrics import METRICS, shown_in
from inference.scores.scorecard import Verification
from inference.scores.tables import write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
MOST_VARIABLES = 4  # that are pictured; tables have all
Draw = Callable[[str, str, str, "Callable[[], Figure]"], None]  # of name, section of the page, caption, picture


def write_comparison(comparison: Comparison, output: Path, *, truth: Fields | None = None, title: str = "") -> Path:
    """Write report.html into `output`, and beside it what it shows.

    Each picture as PNG and as vector PDF; table.tex with booktabs tables; leads.parquet, a line a row, metric, lead
    time and variable with the seeds together; and what any verification leaves: scores.nc, scores.json, and
    table.parquet and table.csv with each seed by itself.

    truth: for pictures of fields; without it there are only scores.
    """
    output_folder(output)
    write_tables(comparison.verification, output)
    with atomic_file(output / "leads.parquet") as temporary:
        tidy(comparison).to_parquet(temporary, index=False)
    write_text(output / "table.tex", latex(comparison))
    path = output / "report.html"
    write_text(path, page(comparison, _draw(comparison, output, truth), title))
    return path


def page(comparison: Comparison, images: Sequence[Image], title: str = "") -> str:
    """Return the HTML of the whole page."""
    verification = comparison.verification
    title = title or f"{comparison.name}: {len(comparison.rows)} rows compared"
    notes = Notes(title, answer(comparison), comparison.command)
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
        climate=climate_cells(comparison.climate),
        climate_findings=climate_findings(comparison.climate, comparison.reference),
        intervals=about_intervals(comparison),
        alike=alike(comparison.rows),
        trials=trial_rows(comparison.trials),
        trials_each=these(set(Counter(trial.label for trial in comparison.trials).values())),
        energy=energy_rows(comparison),
        number=number,
        images={name: [image for image in images if image.section == name] for name in ("ranking", *SECTIONS)},
        sections=SECTIONS,
        lead_tables=_lead_tables(comparison),
        equivalent=equivalent_table(verification),
        missing=missing(verification),
        known=_facts(comparison, notes),
    )


def _draw(comparison: Comparison, output: Path, truth: Fields | None) -> list[Image]:
    """Return all pictures that these scores and fields allow, in the order the report shows them."""
    images: list[Image] = []

    def draw(name: str, section: str, caption: str, figure: Callable[[], Figure]) -> None:
        images.append(Image(style.save(figure(), output / name, vector=True), caption, section))

    verification, rows = comparison.verification, [row for row in comparison.ranked if row.forecast_seeds]
    level = f"{100 * verification.level:g} %"
    draw("ranking", "ranking", f"Score of each row with its {level} interval; rings are seeds.",
         lambda: overview_plots.ranking_plot(comparison))  # fmt: skip
    for variable in verification.variables[:MOST_VARIABLES]:
        _draw_variable(comparison, variable, draw)
    if truth is not None:
        forecasts = {row.label: forecast for row in rows if (forecast := row.forecast_seeds[0].forecast) is not None}
        for variable in verification.variables[:MOST_VARIABLES]:
            caption = "One case from the first seed of each row, best row first, colours as of the truth."
            name = f"samples{_end(verification, variable)}"
            draw(name, "samples", caption, partial(samples, forecasts, truth, variable))
    if any(row.parameters or row.training_seconds or row.inference_seconds for row in rows):
        caption = f"Lower and further left is better; ringed in black: {comparison.reference}."
        draw("cost", "cost", caption, lambda: overview_plots.cost_plot(comparison))
    if logs := [log for row in comparison.rows for log in row.logs if log.is_file()]:
        caption = (
            "One fit: training loss over epochs; below, the error of validation rollouts, which chose the weights."
        )
        draw("loss", "training", caption, lambda: score_curves.loss_curves(logs[0]))
    return images


def _draw_variable(comparison: Comparison, variable: str, draw: Draw) -> None:
    scores, verification = comparison.scores, comparison.verification
    about_zero = verification.about_zero[verification.variables.index(variable)]
    level = f"{100 * verification.level:g} %"
    others = f"Grey: all other rows. Black in each panel: {comparison.reference}."
    end = _end(verification, variable)
    for metric in dict.fromkeys((scores.kind, *shown_in("comparison"))):
        doubled = metric == "rmse" and scores.kind == "nrmse" and about_zero
        if not doubled and any(metric in members[0].metrics for members in scores.members.values()):
            caption = f"{sentence(METRICS[metric].title)} with {level} intervals over starts and seeds. {others}"
            draw(f"{metric}{end}", "error", caption, partial(curves.error_curves, comparison, metric, variable))
    if len(scores.labels) > 1:
        caption = (
            f"RMSE over that of {comparison.reference}, blue is better. Dots: p of no difference is not below "
            f"{1 - verification.level:.2g} after Holm's adjustment over all lead times."
        )
        draw(f"relative{end}", "error", caption, partial(overview_plots.relative_errors, comparison, variable))
    if verification.wavenumbers is not None and any(e.power is not None for e in verification.emulators):
        caption = f"Geometric mean over seeds of the mean over cases; broad grey: the truth's. {others}"
        draw(f"spectra{end}", "spectra", caption, partial(curves.spectrum_curves, comparison, variable))
    caption = (
        f"Share of cases and seeds whose RMSE has stayed within {verification.threshold:g} standard deviations of "
        f"the truth. {others}"
    )
    draw(f"stability{end}", "stability", caption, partial(curves.stability_curves, comparison, variable))
    caption = f"Spatial standard deviation of the forecast over the truth's; 1 keeps the amplitude. {others}"
    draw(f"amplitude{end}", "stability", caption, partial(curves.amplitude_curves, comparison, variable))
    for metric, what in (("mean_drift", "area mean"), ("mean_square_drift", "mean square, its energy")):
        if metric == "mean_drift" or about_zero:
            caption = f"Root mean square over cases of the {what}'s change since the start. Broad grey: the truth's. "
            draw(f"{metric}{end}", "conservation", caption + others,
                 partial(curves.conservation_curves, comparison, metric, variable))  # fmt: skip


def _end(verification: Verification, variable: str) -> str:
    """Return the end of a picture's name, which tells variables apart where there are several."""
    return "" if len(verification.variables) == 1 else f"_{style.file_name(variable)}"


def _lead_tables(comparison: Comparison) -> list[tuple[str, tuple[list[str], list[list[str]]]]]:
    verification = comparison.verification
    names = zip(verification.variables, verification.units, strict=True)
    titles = [sentence(METRICS["rmse"].with_unit(unit, variable)) for variable, unit in names]
    return [(title, lead_rows(comparison, "rmse", column)) for column, title in enumerate(titles)]


def _facts(comparison: Comparison, notes: Notes) -> list[tuple[str, str]]:
    draws = comparison.scores.draws_of(comparison.reference)
    drawn = f"{len(draws.counts)} resamples of {draws.num_blocks:.3g} {draws.unit}, the same for the rows compared"
    return [
        *data_facts(comparison.verification),
        ("intervals", drawn),
        ("p-values", "two-sided, Student's t on logarithms of scores; adjusted over lead times after Holm (1979)"),
        *noted_facts(notes),
    ]
