"""The values behind the curves of a figure, for a page that shows them under the pointer."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

MOST_POINTS = 400  # of one curve; a page has fewer pixels


def curve_values(figure: Figure) -> list[dict[str, Any]]:
    """Return, panel by panel, where the axes lie and what the labelled curves are; the figure must have been drawn.

    box: left, top, right and bottom as shares of the figure. x: the ends of the axis, and whether it is logarithmic.
    """
    panels = []
    for axes in figure.axes:
        curves = []
        for line in axes.lines:
            x, y = np.asarray(line.get_xdata(), np.float64), np.asarray(line.get_ydata(), np.float64)
            known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
            if str(line.get_label()).startswith("_") or not known.size:
                continue  # a reference line, say
            kept = known[np.unique(np.linspace(0, known.size - 1, MOST_POINTS).round().astype(int))]
            colour = line.get_color()
            curves.append({"label": line.get_label(), "colour": colour, "x": _short(x[kept]), "y": _short(y[kept])})
        if curves:
            box = axes.get_position()
            panels.append({
                "box": _short(np.array([box.x0, 1 - box.y1, box.x1, 1 - box.y0])),
                "x": _short(np.array(axes.get_xlim())),
                "logarithmic": axes.get_xscale() == "log",
                "axis": axes.get_xlabel() or figure.axes[-1].get_xlabel(),
                "curves": curves,
            })  # fmt: skip
    return panels


def _short(values: np.ndarray[Any, Any]) -> list[float]:
    """Return a number with the four digits that a reader takes in."""
    return [float(f"{value:.4g}") for value in values]
