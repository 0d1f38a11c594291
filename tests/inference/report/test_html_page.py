"""A page stands alone: what is text stays text, and the browser is told to run nothing but what the page came with."""

import base64
import hashlib
import re
from html import unescape
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from inference.report.page import Notes, render


def a_page(folder: Path, main: str, **values: object) -> str:
    (folder / "a.html").write_text('{% extends "base.html" %}{% block main %}' + main + "{% endblock %}")
    return render(folder / "a.html", notes=Notes("A <title>", "A & B."), **values)


def test_the_policy_permits_the_pages_own_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("b { color: red; }\n")
    (tmp_path / "a.js").write_text("document.title += ' > 1';\n")
    page = a_page(tmp_path, "")
    policy = dict(
        rule.split(" ", 1)
        for rule in unescape(re.search('Policy" content="(.*?)"', page)[1]).split("; ")  # type: ignore[index]
    )
    assert policy["default-src"] == "'none'" and policy["img-src"] == "data:"
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert "color: red" in page and "' > 1'" in page, "style and script are no text to escape"
    assert " style=" not in page and " onclick=" not in page, "which the policy would forbid"


def test_text_is_escaped_and_markup_is_not(tmp_path: Path) -> None:
    page = a_page(tmp_path, "{{ text }} {{ bold }}", text="<i>", bold=Markup("<b>1</b>"))
    assert "&lt;i&gt; <b>1</b>" in page and "A &lt;title&gt;" in page and "A &amp; B." in page


def test_a_value_that_is_not_there_is_no_empty_text(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="absent"):
        a_page(tmp_path, "{{ absent }}")


def test_tables_have_a_head_only_where_there_is_one(tmp_path: Path) -> None:
    main = '{% from "parts.html" import table %}{{ table(head, rows) }}'
    page = a_page(tmp_path, main, head=["a", "b"], rows=[["<1>", Markup("<b>2</b>")]])
    assert "<th>a</th>" in page and "<td>&lt;1&gt;</td><td><b>2</b></td>" in page and 'class="scores"' in page
    assert "<thead>" not in a_page(tmp_path, main, head=[], rows=[["x"]])


def test_a_wide_picture_shrinks_to_a_small_screen(tmp_path: Path) -> None:
    (style,) = re.findall("<style>(.*?)</style>", a_page(tmp_path, ""), re.S)
    rules = re.findall(r"([^{}]*\bimg\b[^{}]*)\{([^}]*)\}", style)
    assert "max-width: 100%; height: auto" in rules[0][1] and rules[0][0].split() == ["figure", "img"]
    assert len(rules) == 1, "no other rule gives a picture a width"
