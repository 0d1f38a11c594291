"""The report: one HTML file that stands alone, with the pictures, tables and data files beside it."""

from __future__ import annotations

import base64
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emulator.data.fields import Fields
from emulator.data.forecast import Forecast
from emulator.scores import ROUNDING
from emulator.time_step import TimeStep
from inference import pictures, plots
from inference.coastlines import ATTRIBUTION
from inference.scorecard import METRICS, ForecastScores, Verification
from inference.tables import write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("meshcast", "torch", "torch-geometric", "lightning", "numpy", "anemoi-datasets", "matplotlib")
SHOWN_LEADS = {
    "hours": (1, 2, 3, 6, 12, 24, 48, 72, 96, 120, 168, 240),
    "months": (1, 2, 3, 6, 12, 24, 36, 60, 120),
    "": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
}


@dataclass(frozen=True)
class Story:
    """What a report tells beside the scores.

    title, summary: its head and first paragraph.
    command: the command line that made it.
    log: the training's CSV log, for its loss curves.
    facts: what else to state, by name: configuration, training time, parameters.
    figures: more pictures, PNG or GIF files by caption.
    """

    title: str = "Forecast verification"
    summary: str = ""
    command: str = ""
    log: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)


def write_report(
    verification: Verification,
    output: Path,
    *,
    forecasts: Sequence[Forecast] = (),
    truth: Fields | None = None,
    story: Story | None = None,
    case: int = 0,
) -> Path:
    """Write report.html, scores.nc, scores.json, table.parquet, table.csv, PNGs and a GIF into `output`.

    forecasts, truth: for pictures of fields, of one `case`; without them there are only scores. The first forecast that
    is no baseline is pictured.
    """
    output.mkdir(parents=True, exist_ok=True)
    story = story or Story()
    write_tables(verification, output)
    images = _draw(verification, output, forecasts, truth, story, case)
    path = output / "report.html"
    path.write_text(_page(verification, story, images), encoding="utf-8")
    return path


@dataclass(frozen=True)
class _Image:
    path: Path
    caption: str
    section: str


def _draw(
    verification: Verification,
    output: Path,
    forecasts: Sequence[Forecast],
    truth: Fields | None,
    story: Story,
    case: int,
) -> list[_Image]:
    """All pictures that these scores and fields allow, in the order the report shows them."""
    images: list[_Image] = []

    def draw(name: str, section: str, caption: str, figure: Callable[[], Figure]) -> None:
        figure().savefig(output / f"{name}.png")
        images.append(_Image(output / f"{name}.png", caption, section))

    held = {metric for emulator in verification.emulators for metric in emulator.metrics}
    band = "" if not _has_bands(verification) else f" Bands: {100 * verification.level:g} % intervals."
    for metric in ("rmse", "nrmse", "acc", "crps"):
        if metric in held and (metric != "nrmse" or verification.about_zero.all()):
            caption = f"{sentence(METRICS[metric].title)} against lead time.{band}"
            draw(metric, "scores", caption, partial(plots.metric_curves, verification, metric))
    if verification.baselines and len(verification.baselines) < len(verification.emulators):
        caption = f"Skill, 1 - RMSE / RMSE of each baseline; above zero the emulator is better.{band}"
        draw("skill", "scores", caption, lambda: plots.skill_curves(verification))
    if story.log is not None:
        draw(
            "loss",
            "training",
            "Training loss over epochs; below, the error of validation rollouts, by which the weights were chosen.",
            lambda: plots.loss_curves(story.log or Path()),
        )
    if verification.wavenumbers is not None and any(e.power is not None for e in verification.emulators):
        caption = "Power spectra of truth and forecasts at three lead times, mean over cases."
        draw("spectra", "physics", caption, lambda: plots.spectrum_curves(verification))
    draw("amplitude", "physics", _AMPLITUDE, lambda: plots.metric_curves(verification, "amplitude_ratio"))
    draw(
        "drift",
        "physics",
        "Change since the start of the area mean, and of the mean square of fields about zero.",
        lambda: plots.drift_curves(verification),
    )
    if forecasts:
        _draw_fields(verification, output, forecasts, truth, case, draw, images)
    images += [_Image(path, caption, "more") for caption, path in story.figures.items()]
    return images


_AMPLITUDE = "Spatial standard deviation of the forecast over the truth's: below 1 the forecast is too smooth."


def _draw_fields(
    verification: Verification,
    output: Path,
    forecasts: Sequence[Forecast],
    truth: Fields | None,
    case: int,
    draw: Callable[[str, str, str, Callable[[], Figure]], None],
    images: list[_Image],
) -> None:
    """One case of the first emulator that is no baseline: fields and their error, a series, an animation."""
    names = [f.name for f in forecasts]
    own = [f for f in forecasts if f.name not in {verification[label].name for label in verification.baselines}]
    main = own[0] if own else forecasts[0]
    case = min(case, len(main.init_time) - 1)
    for variable in verification.variables[:4]:
        suffix = "" if len(verification.variables) == 1 else f"_{variable}"
        if main.mesh.domain.kind == "ring":
            caption = f"Hovmöller diagram of {variable}: position along the ring against lead time."
            draw(f"hovmoeller{suffix}", "fields", caption, partial(pictures.hovmoeller, main, truth, variable, case))
        else:
            caption = f"{variable} of one case at three lead times. {ATTRIBUTION}"
            draw(f"maps{suffix}", "fields", caption, partial(pictures.maps, main, truth, variable, case))
    styles = plots.line_styles(names, [n for n in names if n not in {f.name for f in own}])
    beside = [f for f in forecasts if _same_case(f, main, case)]
    draw(
        "series",
        "fields",
        "One place along one forecast.",
        lambda: pictures.series(beside, truth, None, case, None, styles),
    )
    path = pictures.animation(main, output / "animation.gif", truth, verification.variables[0], case)
    images.append(_Image(path, f"{verification.variables[0]} of one case, lead by lead.", "fields"))


def _same_case(forecast: Forecast, main: Forecast, case: int) -> bool:
    """Whether a forecast's case of this number is the one pictured."""
    return (
        len(forecast.init_time) > case
        and forecast.init_time[case] == main.init_time[case]
        and forecast.trajectory[case] == main.trajectory[case]
    )


def _has_bands(verification: Verification) -> bool:
    return verification.resamples(verification.emulators[0]).num_blocks >= 2


SECTIONS = {
    "scores": "Scores by lead time",
    "training": "Training",
    "physics": "What the forecasts keep",
    "fields": "One forecast in pictures",
    "more": "More pictures",
}


def _page(verification: Verification, story: Story, images: Sequence[_Image]) -> str:
    body = [f"<h1>{escape(story.title)}</h1>"]
    if story.summary:
        body.append(f"<p class=lead>{escape(story.summary)}</p>")
    body += [_findings(verification), _summary_table(verification)]
    for section, title in SECTIONS.items():
        figures = [_figure(image) for image in images if image.section == section]
        tables = [_lead_tables(verification)] if section == "scores" else []
        if figures or tables:
            body += [f"<h2>{title}</h2>", *figures, *tables]
    body += [_left_out(verification), _provenance(verification, story)]
    return _PAGE.format(title=escape(story.title), style=_STYLE, body="\n".join(body))


def _findings(verification: Verification) -> str:
    """The first thing a reader wants: is it better than the hardest baseline, and from which lead to which."""
    items = []
    for emulator in verification.emulators:
        if emulator.label in verification.baselines or not verification.baselines:
            continue
        for column, variable in enumerate(verification.variables):
            better, leads = _better_than_all(verification, emulator, column)
            if not leads.size:
                continue
            count = f"{better.sum()} of {len(leads)} lead times"
            text = f"{emulator.label} beats every baseline in RMSE of {variable} at {count}"
            items.append(text + (f" ({_lead_list(leads[better], verification.time_step)})." if better.any() else "."))
    note = f"Counted where the paired {100 * verification.level:g} % interval of the difference excludes zero."
    if not items:
        return ""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + f"</ul><p class=note>{note}</p>"


def _better_than_all(
    verification: Verification, emulator: ForecastScores, column: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """At which leads the interval of every paired difference lies below zero, and the leads compared."""
    found = [verification.difference(emulator.label, baseline) for baseline in verification.baselines]
    leads = found[0].lead_steps
    for difference in found:
        leads = np.intersect1d(leads, difference.lead_steps[np.isfinite(difference.estimate[:, column])])
    better = np.ones(len(leads), dtype=bool)
    for difference in found:
        better &= difference.upper[np.searchsorted(difference.lead_steps, leads), column] < 0
    return better, leads


def _lead_list(steps: NDArray[np.int64], time_step: TimeStep) -> str:
    """Lead times in words, consecutive ones as a range."""
    runs = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    words = []
    for run in runs[:6]:
        values, label = time_step.lead_axis(run)
        words.append(f"{values[0]:g}" if len(run) == 1 else f"{values[0]:g} to {values[-1]:g}")
    return label + ": " + ", ".join(words) + (" ..." if len(runs) > 6 else "")


def _summary_table(verification: Verification) -> str:
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
    return _table(head, rows, escaped=True) + f"<p class=note>{escape(note)}</p>"


def _lead_tables(verification: Verification) -> str:
    """A table a variable and metric: emulators by lead time, the best in bold."""
    parts = []
    metrics = ("rmse", "bias", "acc", "nrmse", "crps")
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        for metric in metrics:
            shown = [e for e in verification.emulators if metric in e.metrics]
            if shown and (metric != "nrmse" or verification.about_zero[column]):
                about = METRICS[metric]
                units = f" [{unit}]" if about.dimensional and unit != "1" else ""
                opened = " open" if metric == "rmse" else ""
                table = _lead_table(verification, shown, metric, column)
                title = escape(f"{sentence(about.title)} of {variable}{units}")
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
    distance = np.maximum(np.abs(np.array(values) - about.best), rounding)
    show = _correlation if metric == "acc" else partial(_error, rounding=rounding)
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
    return _table(head, rows, escaped=True)


def table_leads(steps: NDArray[np.int64], time_step: TimeStep, most: int = 8) -> NDArray[np.int64]:
    """The leads a table shows: all of a few, else round ones and the last."""
    if len(steps) <= most:
        return steps
    values, label = time_step.lead_axis(steps)
    if "days" in label and time_step.count < 86_400:
        values = values * 24
        label = "hours"
    unit = next((name for name in ("hours", "months") if name in label), "")
    wanted = SHOWN_LEADS[unit]
    round_ones = steps[np.isin(np.round(values if unit else steps, 6), wanted)]
    chosen = np.unique(np.append(round_ones[:most], steps[-1]))
    return chosen if len(chosen) > 2 else steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]


def _left_out(verification: Verification) -> str:
    if not verification.left_out:
        return "<h2>Left out</h2><p>Nothing: every lead of every case was verified.</p>"
    items = [sentence if len(sentence) < 600 else sentence[:600] + " ..." for sentence in verification.left_out[:40]]
    more = len(verification.left_out) - len(items)
    rest = f"<p>and {more} more, in scores.json.</p>" if more > 0 else ""
    listed = "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + f"</ul>{rest}"
    if len(items) <= 6:
        return f"<h2>Left out</h2>{listed}"
    pairs = sum(int((~e.verified.any(2)).sum()) for e in verification.emulators)
    total = sum(e.verified[..., 0].size for e in verification.emulators)
    summary = f"{pairs} of {total} pairs of case and lead time have no truth and count in no score"
    return f"<h2>Left out</h2><details><summary>{summary}</summary>{listed}</details>"


def _provenance(verification: Verification, story: Story) -> str:
    """Which data, whose, how the intervals were made, and with which software."""
    rows = [("truth", verification.truth.get("source", ""))]
    rows += [(name, value) for name, value in verification.truth.items() if name != "source" and len(str(value)) < 500]
    rows += [("mesh", verification.mesh.describe()), ("time step", str(verification.time_step))]
    rows += [("intervals", verification.resamples(verification.emulators[0]).describe())]
    for emulator in verification.emulators:
        kept = {k: v for k, v in emulator.attributes.items() if str(v) not in ("", "[]") and len(str(v)) < 300}
        same = {name for name, value in kept.items() if verification.truth.get(name) == value}
        if text := "; ".join(f"{name}: {value}" for name, value in kept.items() if name not in same):
            rows.append((f"forecast {emulator.label}", text))
    rows += [(name, str(value)) for name, value in story.facts.items()]
    if story.command:
        rows.append(("command", story.command))
    rows.append(("software", _versions()))
    cells = [(escape(str(name)), escape(str(value))) for name, value in rows if str(value)]
    return "<h2>Data and method</h2>" + _table(("", ""), cells, escaped=True, css="facts")


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _figure(image: _Image) -> str:
    kind = "gif" if image.path.suffix == ".gif" else "png"
    data = base64.b64encode(image.path.read_bytes()).decode()
    caption = escape(image.caption)
    size = f' width="{_width(image.path) * 105 // plots.DPI}"' if kind == "png" else ""  # type of one size throughout
    picture = f'<img alt="{caption}"{size} src="data:image/{kind};base64,{data}">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _width(png: Path) -> int:
    """Pixels across, from the PNG header (RFC 2083, section 4.1.1)."""
    with png.open("rb") as file:
        return int.from_bytes(file.read(24)[16:20], "big")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], escaped: bool = False, css: str = "scores") -> str:
    clean: Callable[[str], str] = (lambda text: text) if escaped else escape
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{clean(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<div class=wide><table class="{css}">{header}<tbody>{body}</tbody></table></div>'


def sentence(title: str) -> str:
    """With a capital, but nRMSE as it is."""
    return title if title[1:2].isupper() else title[0].upper() + title[1:]


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def _error(value: float, rounding: float) -> str:
    """An error, or nothing but float32's rounding."""
    return "≈ 0" if abs(value) <= rounding else _number(value)


def _correlation(value: float) -> str:
    """A correlation; near one, by how much it falls short."""
    return f"1 − {1.0 - value:.0e}" if 0.9995 <= value < 1.0 else _number(value)


def _with_interval(value: float, lower: float, upper: float, show: Callable[[float], str] = _number) -> str:
    """The number, and below it in small type its interval."""
    bounds = np.isfinite(lower) and np.isfinite(upper) and show(lower) != show(upper)
    return show(value) + (f"<br><small>{show(lower)} to {show(upper)}</small>" if bounds else "")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main></body></html>
"""

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1a1a1a; }
body { font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .4rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .8rem; padding-bottom: .2rem; border-bottom: 1px solid #ccc; }
p.lead { font-size: 1.1rem; }
p.note, figcaption { color: #555; font-size: .85rem; }
figure { margin: 0 0 1.6rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .3rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #888; }
th, td { padding: .25rem .7rem .25rem 0; vertical-align: top; }
small { color: #555; font-weight: 400; }
table.scores td { white-space: nowrap; border-bottom: 1px solid #eee; }
table.facts td { border-bottom: 1px solid #eee; overflow-wrap: anywhere; }
table.facts td:first-child { color: #555; white-space: nowrap; overflow-wrap: normal; }
summary { cursor: pointer; font-weight: 600; margin: .4rem 0; }
@media print {
  body { font-size: 10pt; } main { max-width: none; padding: 0; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .wide { overflow: visible; } table.scores td { white-space: normal; }
}
"""
