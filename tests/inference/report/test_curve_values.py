"""The values a page shows under the pointer are those that the figure draws, where it draws them."""

import numpy as np
import pytest

from inference.pictures.style import new_figure
from inference.report.report import MOST_POINTS, curve_values


def test_labelled_curves_come_with_their_axes_and_reference_lines_do_not() -> None:
    figure, ((left, right),) = new_figure(1, 2)
    left.plot([1, 2, 3], [0.123456, np.nan, 3.0], label="GNN", color="#123456")
    left.axhline(0.0)
    left.set(xlim=(0, 4), xlabel="lead time [hours]")
    right.set_xscale("log")
    right.plot(np.arange(1, 2001), np.arange(2000), label="truth")
    figure.draw_without_rendering()
    one, two = curve_values(figure)
    assert one["curves"] == [{"label": "GNN", "colour": "#123456", "x": [1.0, 3.0], "y": [0.1235, 3.0]}]
    assert (one["x"], one["axis"], one["logarithmic"]) == ([0.0, 4.0], "lead time [hours]", False)
    assert two["logarithmic"] and len(two["curves"][0]["x"]) == MOST_POINTS and two["curves"][0]["x"][-1] == 2000
    bounds = left.get_position()
    assert one["box"] == pytest.approx([bounds.x0, 1 - bounds.y1, bounds.x1, 1 - bounds.y0], rel=1e-3)
    assert one["box"][2] < two["box"][0], "panels lie beside each other"
