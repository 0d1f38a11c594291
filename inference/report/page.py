"""The report's page: findings, tables, pictures and provenance as one HTML file that stands alone."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from inference.pictures import plots
from inference.report.score_tables import equivalent_table, html_table, lead_tables, summary_table
from inference.scores.scorecard import ForecastScores, Verification

PACKAGES = ("meshcast", "torch", "torch-geometric", "lightning", "numpy", "anemoi-datasets", "matplotlib")

SECTIONS = {
    "scores": "Scores by lead time",
    "training": "Training",
    "physics": "What the forecasts keep",
    "fields": "One forecast in pictures",
    "more": "More pictures",
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


@dataclass(frozen=True)
class Image:
    """A picture file, and under which heading it is shown."""

    path: Path
    caption: str
    section: str


def page(verification: Verification, story: Story, images: Sequence[Image]) -> str:
    """The whole HTML text."""
    body = [f"<h1>{escape(story.title)}</h1>"]
    if story.summary:
        body.append(f"<p class=lead>{escape(story.summary)}</p>")
    body += [_findings(verification), summary_table(verification)]
    for section, title in SECTIONS.items():
        figures = [picture(image) for image in images if image.section == section]
        tables = [equivalent_table(verification), lead_tables(verification)] if section == "scores" else []
        if figures or tables:
            body += [f"<h2>{title}</h2>", *figures, *tables]
    body += [left_out(verification), _provenance(verification, story)]
    return document(story.title, body)


def document(title: str, body: Sequence[str], style: str = "") -> str:
    """A whole HTML file in the report's type; `style` adds to its sheet."""
    return _PAGE.format(title=escape(title), style=_STYLE + style, body="\n".join(body))


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


def left_out(verification: Verification) -> str:
    """What was not verified, and why."""
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
    rows = data_facts(verification)
    rows += [("intervals", verification.resamples(verification.emulators[0]).describe())]
    for emulator in verification.emulators:
        kept = {k: v for k, v in emulator.attributes.items() if str(v) not in ("", "[]") and len(str(v)) < 300}
        same = {name for name, value in kept.items() if verification.truth.get(name) == value}
        if text := "; ".join(f"{name}: {value}" for name, value in kept.items() if name not in same):
            rows.append((f"forecast {emulator.label}", text))
    return facts_table(rows, story)


def data_facts(verification: Verification) -> list[tuple[str, str]]:
    """Name and value of what is known of the truth, the mesh and the time step."""
    rows = [("truth", verification.truth.get("source", ""))]
    rows += [(name, value) for name, value in verification.truth.items() if name != "source" and len(str(value)) < 500]
    return [*rows, ("mesh", verification.mesh.describe()), ("time step", str(verification.time_step))]


def facts_table(rows: Sequence[tuple[str, str]], story: Story) -> str:
    """The page's last part: these facts, the story's, its command and the software."""
    rows = [*rows, *((name, str(value)) for name, value in story.facts.items())]
    if story.command:
        rows.append(("command", story.command))
    rows.append(("software", _versions()))
    cells = [(escape(str(name)), escape(str(value))) for name, value in rows if str(value)]
    return "<h2>Data and method</h2>" + html_table(("", ""), cells, escaped=True, css="facts")


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def picture(image: Image) -> str:
    """The file itself within the page, and its caption."""
    kind = "gif" if image.path.suffix == ".gif" else "png"
    data = base64.b64encode(image.path.read_bytes()).decode()
    caption = escape(image.caption)
    size = f' width="{_width(image.path) * 105 // plots.DPI}"' if kind == "png" else ""  # type of one size throughout
    shown = f'<img alt="{caption}"{size} src="data:image/{kind};base64,{data}">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _width(png: Path) -> int:
    """Pixels across, from the PNG header (RFC 2083, section 4.1.1)."""
    with png.open("rb") as file:
        return int.from_bytes(file.read(24)[16:20], "big")


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
