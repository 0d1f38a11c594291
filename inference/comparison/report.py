"""The report of a comparison: one HTML file that stands alone, with pictures, tables and LaTeX beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from inference.comparison import curves as comparison_curves
from inference.comparison import overview_plots as comparison_plots
from inference.comparison.family_panels import Scene
from inference.comparison.label_scores import LabelScores
from inference.comparison.page import page
from inference.comparison.samples import first_seeds, samples
from inference.comparison.story import ComparisonStory
from inference.comparison.tables import latex, tidy
from inference.pictures import plots
from inference.report.page import Image, Notes
from inference.report.score_tables import sentence
from inference.scores.metrics import METRICS, shown_in
from inference.scores.scorecard import Verification
from inference.scores.tables import write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_VARIABLES = 4  # that are pictured; tables have all
Draw = Callable[[str, str, str, "Callable[[], Figure]"], None]  # of name, section of the page, caption, picture


def write_comparison(
    verification: Verification,
    comparison: ComparisonStory,
    output: Path,
    *,
    forecasts: Sequence[Forecast] = (),
    truth: Fields | None = None,
    story: Notes | None = None,
) -> Path:
    """Write report.html into `output`, and beside it what it shows.

    Each picture as PNG and as vector PDF; table.tex with booktabs tables; leads.parquet, a line a row, metric, lead
    time and variable with the seeds together; and what any verification leaves: scores.nc, scores.json, and
    table.parquet and table.csv with each seed by itself.

    comparison: its rows, costs and trials.
    forecasts, truth: for pictures of fields, in the order of the verification; without them there are only scores.
    story: title, summary and facts, as for any report.
    """
    output.mkdir(parents=True, exist_ok=True)
    story = story or Notes(title=comparison.name)
    write_tables(verification, output)
    scores = LabelScores.of(verification, comparison)
    tidy(scores, comparison).to_parquet(output / "leads.parquet", index=False)
    (output / "table.tex").write_text(latex(scores, comparison), encoding="utf-8")
    images = _draw(Scene.of(scores, comparison), output, forecasts, truth, story)
    path = output / "report.html"
    path.write_text(page(scores, comparison, story, images), encoding="utf-8")
    return path


def _draw(scene: Scene, output: Path, forecasts: Sequence[Forecast], truth: Fields | None, story: Notes) -> list[Image]:
    """All pictures that these scores and fields allow, in the order the report shows them."""
    images: list[Image] = []

    def draw(name: str, section: str, caption: str, figure: Callable[[], Figure]) -> None:
        images.append(Image(plots.save(figure(), output / name, vector=True), caption, section))

    verification = scene.scores.verification
    level = f"{100 * verification.level:g} %"
    draw("ranking", "ranking", f"Score of each row with its {level} interval; rings are seeds.",
         lambda: comparison_plots.ranking_plot(scene))  # fmt: skip
    for variable in verification.variables[:MOST_VARIABLES]:
        _draw_variable(scene, variable, draw)
    if forecasts and truth is not None:
        rows = first_seeds(scene, forecasts)
        for variable in verification.variables[:MOST_VARIABLES]:
            caption = "One case from the first seed of each row, best row first, colours as of the truth."
            draw(f"samples{_end(scene, variable)}", "samples", caption, partial(samples, rows, truth, variable))
    if any(row.parameters or row.training_seconds or row.inference_seconds for row in scene.story.rows):
        caption = f"Lower and further left is better; ringed in black: {scene.reference}."
        draw("cost", "cost", caption, lambda: comparison_plots.cost_plot(scene))
    if story.log is not None and story.log.is_file():
        caption = (
            "One fit: training loss over epochs; below, the error of validation rollouts, which chose the weights."
        )
        draw("loss", "training", caption, lambda: plots.loss_curves(story.log or Path()))
    return images


def _draw_variable(scene: Scene, variable: str, draw: Draw) -> None:
    """The curves of one variable."""
    scores, verification = scene.scores, scene.scores.verification
    about_zero = verification.about_zero[verification.variables.index(variable)]
    level = f"{100 * verification.level:g} %"
    others = f"Grey: all other rows. Black in each panel: {scene.reference}."
    end = _end(scene, variable)
    for metric in dict.fromkeys((scene.story.score, *shown_in("comparison"))):
        doubled = metric == "rmse" and scene.story.score == "nrmse" and about_zero
        if not doubled and any(scores.holds(label, metric) for label in scores.labels):
            caption = f"{sentence(METRICS[metric].title)} with {level} intervals over starts and seeds. {others}"
            draw(f"{metric}{end}", "error", caption, partial(comparison_curves.error_curves, scene, metric, variable))
    if len(scores.labels) > 1:
        caption = (
            f"RMSE over that of {scene.reference}, blue is better. Dots: p of no difference is not below "
            f"{1 - verification.level:.2g} after Holm's adjustment over all lead times."
        )
        draw(f"relative{end}", "error", caption, partial(comparison_plots.relative_errors, scene, variable))
    if verification.wavenumbers is not None and any(e.power is not None for e in verification.emulators):
        caption = f"Geometric mean over seeds of the mean over cases; broad grey: the truth's. {others}"
        draw(f"spectra{end}", "spectra", caption, partial(comparison_curves.spectrum_curves, scene, variable))
    caption = (
        f"Share of cases and seeds whose RMSE has stayed within {verification.threshold:g} standard deviations of "
        f"the truth. {others}"
    )
    draw(f"stability{end}", "stability", caption, partial(comparison_curves.stability_curves, scene, variable))
    caption = f"Spatial standard deviation of the forecast over the truth's; 1 keeps the amplitude. {others}"
    draw(f"amplitude{end}", "stability", caption, partial(comparison_curves.amplitude_curves, scene, variable))
    for metric, what in (("mean_drift", "area mean"), ("mean_square_drift", "mean square, its energy")):
        if metric == "mean_drift" or about_zero:
            caption = f"Root mean square over cases of the {what}'s change since the start. Broad grey: the truth's. "
            draw(f"{metric}{end}", "conservation", caption + others,
                 partial(comparison_curves.conservation_curves, scene, metric, variable))  # fmt: skip


def _end(scene: Scene, variable: str) -> str:
    """Of a picture's name, which tells variables apart where there are several."""
    return "" if len(scene.scores.verification.variables) == 1 else f"_{variable}"
