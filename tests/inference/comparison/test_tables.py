"""Every table of a comparison formats the numbers of its one ranking."""

from __future__ import annotations

from inference.comparison.record import Comparison
from inference.comparison.tables import NONE, latex, lead_rows, ranking_cells, spelt, trial_rows
from tests.inference.comparisons import ring_comparison


def small() -> Comparison:
    return ring_comparison(("GNN", "UNet", "graph convolution", "persistence"), 2, 6, 8, 32)[0]


def test_cells_are_the_numbers_of_the_ranking() -> None:
    comparison = small()
    cells = {row["row"].text: row for row in ranking_cells(comparison)}
    assert list(cells) == [row.label for row in comparison.ranked]
    far, score = cells["graph convolution"], comparison["graph convolution"].score
    assert far["score"].text == f"{score.value:.3g}"
    assert far["score"].below == (f"{score.interval[0]:.3g} to {score.interval[1]:.3g}",)  # type: ignore[index]
    assert far["score / GNN's"].text.endswith("†") and cells["GNN"]["score / GNN's"].text == "1"
    assert cells["UNet"]["median of seeds (range)"].text == "failed" and cells["UNet"][""].text == NONE
    assert cells["plain RNN & more_%"]["status"].below == ("seed 0: out of memory",)
    bounds = ranking_cells(comparison, ", ")[0]["score"].below[0]
    assert bounds == "{:.3g}, {:.3g}".format(*comparison.ranked[0].score.interval)  # type: ignore[misc]


def test_a_lead_without_a_score_is_a_dash() -> None:
    comparison = small()
    head, rows = lead_rows(comparison, "rmse", 0)
    by_label = {row[0]: row[1:] for row in rows}
    assert len(head) == 9 and "plain RNN & more_%" not in by_label
    assert by_label["UNet"][4:] == [NONE] * 4 and NONE not in by_label["UNet"][:4]
    value = comparison.scores.mean("GNN", "rmse").value[0, 0]
    assert by_label["GNN"][0] == f"{value:.3g}"


def test_the_latex_ranking_has_intervals_in_brackets() -> None:
    comparison = small()
    low, high = comparison["GNN"].score.interval  # type: ignore[misc]
    assert f"{comparison['GNN'].score.value:.3g} ({low:.3g}, {high:.3g})" in latex(comparison)


def test_trials_stand_together_by_row() -> None:
    comparison = small()
    rows = trial_rows(comparison.trials)
    assert [row["label"] for row in rows] == ["GNN", "GNN", "UNet", "UNet", "graph convolution", "graph convolution"]
    assert [row["chosen"] for row in rows[:2]] == [False, True]
    assert spelt({"training.noise": 0.01, "emulator.width": 8}) == "noise 0.01, width 8"
