"""Labels beside curves and points, moved apart where they would cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

SIZE = 7.0  # of the type [pt]
SIDES = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))  # of a point, right and up


@dataclass(frozen=True)
class End:
    """Where a curve ends, in the data's coordinates."""

    label: str
    x: float
    y: float
    colour: str


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Names on the right of the axes, at the height where each curve ends or near it; limits must be final."""
    if not ends:
        return
    inside = axes.transData + axes.transAxes.inverted()
    heights = np.array([inside.transform((end.x, end.y))[1] for end in ends])
    height = 72 * axes.get_window_extent().height / axes.figure.dpi
    placed = spread(np.clip(heights, 0.0, 1.0), 1.25 * SIZE / height)
    lines = []
    for end, low, high in zip(ends, np.clip(heights, 0.0, 1.0), placed, strict=True):
        lines.append([(1.0, low), (1.06, high)])
        axes.text(1.07, high, end.label, va="center", fontsize=SIZE, color=end.colour, transform=axes.transAxes)
    options: dict[str, Any] = {"linewidths": 0.5, "clip_on": False, "transform": axes.transAxes}
    axes.add_artist(LineCollection(lines, colors=[end.colour for end in ends], **options))


def spread(heights: NDArray[np.float64], gap: float, top: float = 1.0) -> NDArray[np.float64]:
    """Return heights moved as little as can be so that neighbours are `gap` apart, in their order, up to `top`."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    moved = isotonic_regression(heights[order] - steps).x + steps
    found = np.empty(len(heights))
    found[order] = moved - max(moved[-1] - top, 0.0)
    return found


def label_points(axes: Axes, labels: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Write a name beside each point, where it covers the fewest points and names before it.

    Limits and the figure's layout must be final.
    """
    points = axes.transData.transform(np.column_stack([x, y]))
    frame, pixel, inside = axes.get_window_extent(), axes.figure.dpi / 72, axes.transAxes.inverted()
    taken = np.hstack([points - 3 * pixel, points + 3 * pixel])  # [box, (left, low, right, high)]
    for label, point in zip(labels, points, strict=True):
        size = SIZE * pixel * np.array([0.56 * len(label), 1.1])
        best, least = point, np.inf
        for distance, side in product((5, 11, 18, 26), SIDES):
            low = point + distance * pixel * np.array(side) - size * (1 - np.array(side)) / 2
            high = low + size
            shared = np.clip(np.minimum(high, taken[:, 2:]) - np.maximum(low, taken[:, :2]), 0, None).prod(axis=1)
            outside = np.clip(frame.min - low, 0, None).sum() + np.clip(high - frame.max, 0, None).sum()
            cost = shared.sum() + size[1] * (20 * outside + 0.4 * distance * pixel)
            if cost < least:
                best, least = low, cost
        taken = np.vstack([taken, [*best, *(best + size)]])
        far = (np.abs(best + size / 2 - point) > size / 2 + 8 * pixel).any()
        axes.annotate(
            label,
            xy=inside.transform(point).tolist(),
            xycoords="axes fraction",
            xytext=inside.transform(best).tolist(),
            textcoords="axes fraction",
            fontsize=SIZE,
            va="bottom",
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.4, "shrinkB": 3} if far else None,
        ).set_in_layout(False)
