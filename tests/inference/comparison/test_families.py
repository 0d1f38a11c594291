"""Families of emulators share a panel."""

from __future__ import annotations

from inference.comparison.families import MOST, family_marks, family_of, panels_of, row_styles
from tests.inference.comparisons import ring_comparison


def test_rows_of_a_family_share_a_panel_and_never_a_style() -> None:
    comparison, _ = ring_comparison(seeds=1, trajectories=1, leads=2, num_nodes=16)
    shown = [row.label for row in comparison.rows if row.forecast_seeds]
    panels = panels_of(comparison)
    assert sorted(label for panel in panels for label in panel.labels) == sorted(shown)
    assert max(len(panel.labels) for panel in panels) <= MOST
    styles = row_styles(panels, comparison.reference)
    for panel in panels:
        looks = [str(vars(styles[label])) for label in {*panel.labels, comparison.reference}]
        assert len(set(looks)) == len(looks)
    assert family_of("keras_lstm") == "TensorFlow" and family_of("checkpoint") == "others"
    marks = family_marks(panels)
    assert len(set(marks.values())) == len(marks) == len({family_of(row.kind) for row in comparison.rows[:-1]})
