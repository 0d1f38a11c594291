"""Pictures of small networks show what they say they show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.colors import to_hex

from training.optimisation.descent import Losses
from training.tour.plots import (
    BLUE,
    RED,
    accuracy_curves,
    confusion_matrix,
    fitted_curve,
    named_functions,
    reconstructions,
    scores_by_kind,
    training_histories,
)

HISTORY = Losses(epoch=(1, 2, 3), training=(1.0, 0.5, 0.2), test=(1.1, 0.6, 0.4))


def test_names_are_blue_where_right_and_red_where_wrong() -> None:
    x = np.linspace(-1, 1, 5)
    figure = named_functions(x, np.stack([x, x**2, x]), [0, 1, 1], [0, 0, 1], ["odd", "even"])
    assert [axes.lines[0].get_color() for axes in figure.axes] == [BLUE, RED, BLUE]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["odd", "odd?\nis even", "even"]


def test_originals_are_solid_and_reconstructions_dashed() -> None:
    figure = reconstructions({"normal": np.arange(4.0)}, {"normal": np.arange(4.0) + 1})
    original, returned = figure.axes[0].lines
    assert original.get_linestyle() == "-"
    assert returned.get_linestyle() == "--"
    np.testing.assert_array_equal(returned.get_ydata() - original.get_ydata(), 1.0)


def test_a_history_has_a_line_for_training_and_one_for_the_test() -> None:
    (axes,) = training_histories({"CNN": HISTORY}, "cross-entropy").axes
    assert [line.get_label() for line in axes.lines] == ["CNN, training", "CNN, test"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), HISTORY.test)
    untested = replace(HISTORY, test=())
    assert len(training_histories({"CNN": untested}, "cross-entropy").axes[0].lines) == 1


def test_a_fit_stands_beside_its_history() -> None:
    x = np.linspace(0, 1, 9)
    left, right = fitted_curve(x, x**2, x, (x, x + 0.1), HISTORY).axes
    assert [line.get_label() for line in left.lines] == ["samples", "truth", "approximation"]
    assert [line.get_label() for line in right.lines] == ["training", "test"]


def test_scores_beyond_the_threshold_are_red() -> None:
    (axes,) = scores_by_kind({"normal": [0.1, 5.0]}, 2.0, "score").axes
    assert [to_hex(colour) for colour in axes.collections[0].get_facecolors()] == [BLUE.lower(), RED.lower()]


def test_shares_are_percentages_and_counts_stand_in_the_matrix() -> None:
    (axes,) = accuracy_curves([0.0, 0.1], {"CNN": [1.0, 0.5]}, trained_at=0.1, chance=0.25).axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [100.0, 50.0])
    (axes,) = confusion_matrix([[8, 1], [2, 9]], ["a", "b"]).axes
    assert [text.get_text() for text in axes.texts] == ["8", "1", "2", "9"]
