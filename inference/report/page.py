"""The report's page: findings, tables, pictures and provenance as one HTML file that stands alone."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inference.pictures import style
from inference.report.answer import answer, better_leads
from inference.report.score_tables import equivalent_table, lead_tables, summary_table
from inference.scores.scorecard import Verification
from inference.scores.spread import collapsed

TEMPLATES = Path(__file__).parent / "templates"
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

    title, summary: its head and first paragraph. command: the command line that wrote it.
    log: the training's CSV log, for its loss curves.
    facts: what else to state, by name. figures: more pictures, PNG or GIF files by caption.
    """

    title: str = "Forecast verification"
    summary: str = ""
    command: str = ""
    log: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A picture file, and under which heading it is shown; `curves` are its values as JSON, for the pointer."""

    path: Path
    caption: str
    section: str
    curves: str = ""

    @property
    def uri(self) -> str:
        """Return the picture itself, as the address of an image."""
        if self.path.suffix == ".gif":
            return _address("gif", self.path.read_bytes())
        # The fastest method makes files a third larger in a tenth of the time.
        return webp_address(PIL.Image.open(self.path), lossless=True, method=0)

    @property
    def width(self) -> int | None:
        """Return pixels of the page, so that type has one size throughout; a GIF keeps its own."""
        return None if self.path.suffix == ".gif" else page_width(PIL.Image.open(self.path))


@dataclass(frozen=True)
class Slider:
    """Pictures of which one is shown at a time: of each its lead time and its address, all equally wide."""

    frames: Sequence[tuple[str, str]]
    width: int
    caption: str
    section: str


def webp_address(picture: PIL.Image.Image, **options: Any) -> str:
    """Return a picture as an address within the page; options are Pillow's for WebP."""
    file = BytesIO()
    picture.convert("RGB").save(file, "WEBP", **options)
    return _address("webp", file.getvalue())


def _address(kind: str, picture: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def page_width(picture: PIL.Image.Image) -> int:
    """Return the pixels of the page that a picture of `DPI` takes."""
    return picture.width * 105 // style.DPI


def page(verification: Verification, notes: Notes, pictures: Sequence[Image | Slider]) -> str:
    """Return the HTML of the whole report; pictures of the section `opening` stand right below the answer."""
    return render(
        TEMPLATES / "report.html",
        notes=notes,
        answer=" ".join([answer(verification), *collapsed(verification)]),
        opening=[picture for picture in pictures if picture.section == "opening"],
        better=better_leads(verification),
        level=f"{100 * verification.level:g} %",
        summary=summary_table(verification),
        equivalent=equivalent_table(verification),
        lead_tables=lead_tables(verification),
        sections=[(title, [p for p in pictures if p.section == name]) for name, title in SECTIONS.items()],
        missing=missing(verification),
        known=_facts(verification, notes),
    )


def missing(verification: Verification) -> dict[str, Any]:
    """Return the reasons why pairs of case and lead time were not verified, how many they are, and of how many."""
    verified = [emulator.verified.any(2) for emulator in verification.emulators]
    pairs = sum(int((~each).sum()) for each in verified)
    return {"reasons": verification.left_out, "pairs": pairs, "of": sum(each.size for each in verified)}


def _facts(verification: Verification, notes: Notes) -> list[tuple[str, str]]:
    """Return which data, whose, how the intervals were found, and with which software."""
    rows = [*data_facts(verification), ("intervals", verification.interval_method)]
    for emulator in verification.emulators:
        kept = {k: v for k, v in emulator.attributes.items() if str(v) not in ("", "[]") and len(str(v)) < 300}
        same = {name for name, value in kept.items() if verification.truth.get(name) == value}
        if text := "; ".join(f"{name}: {value}" for name, value in kept.items() if name not in same):
            rows.append((f"forecast {emulator.label}", text))
    return [*rows, *noted_facts(notes)]


def data_facts(verification: Verification) -> list[tuple[str, str]]:
    """Return name and value of what is known of the truth, the mesh and the time step."""
    rows = [("truth", verification.truth.get("source", ""))]
    rows += [(name, value) for name, value in verification.truth.items() if name != "source" and len(str(value)) < 500]
    rows += [("region", verification.region)] if verification.region else []
    return [*rows, ("mesh", verification.mesh.describe()), ("time step", str(verification.time_step))]


def noted_facts(notes: Notes) -> list[tuple[str, str]]:
    """Return name and value of what the notes state, their command and the software."""
    software = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            software.append(f"{package} {version(package)}")
    facts = [(name, str(value)) for name, value in notes.facts.items()]
    return [*facts, ("command", notes.command), ("software", ", ".join(software))]


def render(template: Path, **values: Any) -> str:
    """Return the page of a template that extends `base.html`; text is escaped unless it is Markup.

    The template may stand in any folder, with a style sheet (.css) and a script (.js) of the same name beside it, which
    follow those of the base. A content security policy permits these two by their hashes, and pictures within the file.
    """
    style, script = (_texts(template, suffix) for suffix in (".css", ".js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    loader = FileSystemLoader([template.parent, TEMPLATES])
    spaces: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, **spaces)
    return environment.get_template(template.name).render(
        style=Markup(style), script=Markup(script), policy=policy, **values
    )


def _texts(template: Path, suffix: str) -> str:
    paths = (TEMPLATES / f"base{suffix}", template.with_suffix(suffix))
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())


def _source(text: str) -> str:
    """Return a text as a source of a content security policy (W3C, Content Security Policy Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
