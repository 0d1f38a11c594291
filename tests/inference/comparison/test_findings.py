"""The answer of a comparison names the best row, the next best, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

from inference.comparison.findings import about_intervals, alike, answer, findings
from inference.comparison.record import RowScore
from tests.inference.comparisons import ring_comparison


def test_the_answer_says_by_how_much_and_how_sure() -> None:
    comparison, _ = ring_comparison(("GNN", "graph convolution"), 3, 8, 8, 32)
    far = comparison.scores.ranking_ratio("graph convolution", "GNN")
    text = answer(comparison)
    assert text.startswith(f"GNN is best by nRMSE over lead times, {comparison['GNN'].score.value:.3g}, ")
    assert far.value > 2 and f"and graph convolution is next with {far.value:.3g} times that" in text
    assert f"a difference that is significant (p = {far.p:.2g})" in text
    near, _ = ring_comparison(("CNN", "Keras CNN"), 3, 8, 8, 32)
    ratio = float(near.scores.ranking_ratio(near.ranked[1].label, near.ranked[0].label).value)
    small, _ = ring_comparison(("persistence", "graph convolution"), 1, 8, 8, 32)
    alone = replace(small, rows=(small["graph convolution"],))
    assert answer(alone).startswith("Graph convolution is best by nRMSE")
    assert f"{100 * (ratio - 1):.2g} % more, a difference that is not significant" in answer(near)


def test_the_answer_does_not_hide_that_nothing_can_be_compared() -> None:
    one, _ = ring_comparison(("GNN",), 1, 2, 4, 16)
    assert "no other row has a finite score" in answer(one)
    none = replace(one, rows=tuple(replace(row, score=RowScore()) for row in one.rows))
    assert answer(none) == "No row has a finite score."
    single, _ = ring_comparison(("GNN", "CNN"), 1, 1, 4, 16)
    assert "too few starts" in answer(single)


def test_rows_that_were_lost_are_named_with_their_reason() -> None:
    comparison, _ = ring_comparison(("GNN", "UNet", "graph convolution"), 2, 8, 8, 32)
    items = findings(comparison)
    assert "plain RNN & more_% failed: seed 0: out of memory." in items
    assert "UNet diverged: seed 1: score not finite by update 900." in items
    assert any(item.startswith("Significantly above GNN: graph convolution") for item in items)


def test_what_rows_share_and_what_intervals_hold_for() -> None:
    comparison, _ = ring_comparison(("GNN", "LSTM, per node", "persistence"), 2, 2, 4, 16)
    assert alike(comparison.rows) == ["History: 1 frame(s) for all rows that have one.",
                                      "Updates: 2,000 for all trained rows."]  # fmt: skip
    unlike = [replace(row, history=number) for number, row in enumerate(comparison.rows, 1)]
    assert alike(unlike)[0] == "History differs between rows: 1, 2, 3, 4 frames."
    several, fixed = about_intervals(comparison)
    assert "over 2 seeds" in several and "one set of weights" in fixed
