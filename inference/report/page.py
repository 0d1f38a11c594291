"""The report's page: findings, tables, pictures and provenance as one HTML file that stands alone."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from inference.pictures import plots
from inference.report.html_page import TEMPLATES, part, render
from inference.report.score_tables import equivalent_table, lead_tables, summary_table
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
class Notes:
    """What a report says beside the scores.

    title, summary: its head and first paragraph.
    command: the command line that wrote it.
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

    @property
    def uri(self) -> str:
        """The file itself, as the address of an image."""
        kind = "gif" if self.path.suffix == ".gif" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"

    @property
    def width(self) -> int | None:
        """Pixels of the page, so that type has one size throughout; of a PNG, from its header (RFC 2083, 4.1.1)."""
        if self.path.suffix == ".gif":
            return None
        with self.path.open("rb") as file:
            return int.from_bytes(file.read(24)[16:20], "big") * 105 // plots.DPI


@dataclass(frozen=True)
class Missing:
    """What was not verified: the reasons, and how many of all pairs of case and lead time have no truth."""

    reasons: Sequence[str]
    pairs: int
    of: int


def page(verification: Verification, notes: Notes, images: Sequence[Image]) -> str:
    """Return the HTML of the whole report."""
    sections = [(title, [image for image in images if image.section == name]) for name, title in SECTIONS.items()]
    return render(
        TEMPLATES / "report.html",
        notes=notes,
        findings=_findings(verification),
        level=f"{100 * verification.level:g} %",
        summary=Markup(summary_table(verification)),
        score_tables=Markup(equivalent_table(verification) + lead_tables(verification)),
        sections=sections,
        missing=missing(verification),
        known=_facts(verification, notes),
    )


def _findings(verification: Verification) -> list[str]:
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
    return items


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


def missing(verification: Verification) -> Missing:
    """Return what was not verified, and why."""
    pairs = sum(int((~e.verified.any(2)).sum()) for e in verification.emulators)
    return Missing(verification.left_out, pairs, sum(e.verified[..., 0].size for e in verification.emulators))


def _facts(verification: Verification, notes: Notes) -> list[tuple[str, str]]:
    """Which data, whose, how the intervals were found, and with which software."""
    rows = data_facts(verification)
    rows += [("intervals", verification.interval_method)]
    for emulator in verification.emulators:
        kept = {k: v for k, v in emulator.attributes.items() if str(v) not in ("", "[]") and len(str(v)) < 300}
        same = {name for name, value in kept.items() if verification.truth.get(name) == value}
        if text := "; ".join(f"{name}: {value}" for name, value in kept.items() if name not in same):
            rows.append((f"forecast {emulator.label}", text))
    return [*rows, *noted_facts(notes)]


def data_facts(verification: Verification) -> list[tuple[str, str]]:
    """Name and value of what is known of the truth, the mesh and the time step."""
    rows = [("truth", verification.truth.get("source", ""))]
    rows += [(name, value) for name, value in verification.truth.items() if name != "source" and len(str(value)) < 500]
    return [*rows, ("mesh", verification.mesh.describe()), ("time step", str(verification.time_step))]


def noted_facts(notes: Notes) -> list[tuple[str, str]]:
    """Name and value of what the notes state, their command and the software."""
    return [*((name, str(value)) for name, value in notes.facts.items()), ("command", notes.command),
            ("software", _versions())]  # fmt: skip


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def document(title: str, body: Sequence[str], style: str = "") -> str:
    return render(TEMPLATES / "plain.html", notes=Notes(title), body=Markup("\n".join(body)))


def facts_table(rows: Sequence[tuple[str, str]], notes: Notes) -> str:
    return part("facts", [*rows, *noted_facts(notes)])


def left_out(verification: Verification) -> str:
    return part("left_out", missing(verification))


def picture(image: Image) -> str:
    return part("figure", image)
