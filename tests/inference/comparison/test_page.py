"""The page of a comparison: the answer first, everything escaped, every seed there."""

from __future__ import annotations

from dataclasses import replace

from inference.comparison.findings import answer
from inference.comparison.record import Seed
from inference.comparison.report import page
from tests.inference.comparisons import ring_comparison


def test_the_page_opens_with_the_answer_and_escapes_what_rows_are_called() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN"), 2, 4, 6, 16)
    text = page(comparison, [])
    body = text.split("<body>")[1]
    assert 0 < body.index("<h1>") < body.index(answer(comparison)) < body.index("Ranking</h2>")
    assert "plain RNN &amp; more_%" in body and "plain RNN & more_%" not in body
    for row in comparison.rows:
        for seed in row.forecast_seeds:
            assert f"<td>{seed.label}</td>" in body
    evil = replace(comparison, notes=("<script>alert(1)</script>",))
    assert "<script>alert" not in page(evil, [])


def test_an_unavailable_row_is_marked_with_its_reason() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN"), 1, 4, 6, 16)
    lost = replace(comparison.rows[-1], seeds=(Seed("Keras CNN", "unavailable", reason="needs TensorFlow"),))
    text = page(replace(comparison, rows=(*comparison.rows[:-1], lost)), [])
    assert "unavailable: needs TensorFlow." in text
    assert "<small>needs TensorFlow</small>" in text


def test_what_a_row_differs_in_stands_in_the_table_alone() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN"), 1, 4, 6, 16)
    unlike = replace(comparison.rows[1], differences=("history 2 where the others have 1",))
    noted = replace(
        comparison,
        rows=(comparison.rows[0], unlike, *comparison.rows[2:]),
        notes=("One start was left out.", f"{unlike.label}: history 2 where the others have 1"),
    )
    section = page(noted, []).split("How rows differ</h2>")[1].split("<h2>")[0]
    assert "<li>One start was left out.</li>" in section
    assert section.count("history 2 where the others have 1") == 1
