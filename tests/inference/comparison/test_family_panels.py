"""A panel for each family, the reference in all."""

from __future__ import annotations

import numpy as np

from inference.comparison.family_panels import (
    GREY,
    MOST_IN_PANEL,
    by_family,
    family_marks,
    family_of,
    panels_of,
    row_styles,
)
from tests.inference.comparisons import ring_comparison


def test_each_panel_has_its_family_in_colour_the_reference_black_and_the_rest_grey() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN", "ResNet", "ridge"), 1, 2, 6, 16)
    values = {row.label: np.linspace(1, 2 + place, 6) for place, row in enumerate(comparison.rows)}
    values["CNN"][3:] = np.nan
    shown = ["GNN", "CNN", "ResNet", "ridge"]
    limits = (0.5, 9.0, False)
    figure = by_family(
        comparison,
        shown,
        lambda label: (comparison.scores.leads(label), values[label]),
        "u: size [m]",
        limits,
    )
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == ["closed forms, solvers", "convolutional, spectral", "graph"]
    convolutional = panels["convolutional, spectral"]
    colours = [line.get_color() for line in convolutional.lines]
    assert colours.count("#000000") == 1 and colours.count(GREY) == 1  # the reference, and ridge
    assert {text.get_text() for text in convolutional.texts} == {"GNN", "CNN", "ResNet"}
    crosses = [line for line in convolutional.lines if line.get_marker() == "x"]
    assert len(crosses) == 1 and crosses[0].get_ydata()[0] == values["CNN"][2]  # type: ignore[index]


def test_rows_of_a_family_share_a_panel_and_never_a_style() -> None:
    comparison, _ = ring_comparison(seeds=1, trajectories=1, leads=2, num_nodes=16)
    shown = [row.label for row in comparison.rows if row.forecast_seeds]
    panels = panels_of(comparison)
    assert sorted(label for panel in panels for label in panel.labels) == sorted(shown)
    assert max(len(panel.labels) for panel in panels) <= MOST_IN_PANEL
    styles = row_styles(panels, comparison.reference)
    for panel in panels:
        looks = [str(vars(styles[label])) for label in {*panel.labels, comparison.reference}]
        assert len(set(looks)) == len(looks)
    assert family_of("keras_lstm") == "TensorFlow" and family_of("checkpoint") == "others"
    marks = family_marks(panels)
    assert len(set(marks.values())) == len(marks) == len({family_of(row.kind) for row in comparison.rows[:-1]})
