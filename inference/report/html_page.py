"""HTML pages that stand alone: a Jinja template, its style, script and pictures in one file that admits no other."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def render(template: Path, **values: Any) -> str:
    """Return the page of a template that extends `base.html`; text is escaped unless it is Markup.

    The template may stand in any folder, with a style sheet (.css) and a script (.js) of its own name beside it, which
    follow those of the base. A content security policy permits these two by their hashes, and pictures within the file.
    """
    style, script = (_texts(template, suffix) for suffix in (".css", ".js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    loader = FileSystemLoader([template.parent, TEMPLATES])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(template.name)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)


def _texts(template: Path, suffix: str) -> str:
    """Return the base's text and then the template's, where it has one."""
    paths = (TEMPLATES / f"base{suffix}", template.with_suffix(suffix))
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())


def _source(text: str) -> str:
    """Return a text as a source of a content security policy (W3C, Content Security Policy Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
