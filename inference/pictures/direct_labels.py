"""Labels beside curves and points, moved apart where they would cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 7.0  # of the type [pt]


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
    for end, low, high in zip(ends, np.clip(heights, 0.0, 1.0), placed, strict=True):
        axes.annotate(
            end.label,
            xy=(1.0, low),
            xytext=(1.07, high),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=SIZE,
            color=end.colour,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )


def spread(heights: NDArray[np.float64], gap: float, top: float = 1.0) -> NDArray[np.float64]:
    """Heights moved as little as a sweep can so that neighbours are `gap` apart, in their order, up to `top`."""
    order = np.argsort(heights, kind="stable")
    placed = heights[order].astype(np.float64)
    groups: list[list[float]] = []  # [sum of wished starts, members] of labels that touch
    for wish in placed:
        groups.append([wish, 1])
        while len(groups) > 1 and _start(groups[-2], gap) + groups[-2][1] * gap > _start(groups[-1], gap):
            last = groups.pop()
            before = groups.pop()
            groups.append([before[0] + last[0], before[1] + last[1]])
    moved = np.concatenate([_start(group, gap) + gap * np.arange(int(group[1])) for group in groups])
    moved -= max(moved[-1] - top, 0.0)
    found = np.empty_like(placed)
    found[order] = moved
    return found


def _start(group: Sequence[float], gap: float) -> float:
    """The lowest place of labels that touch, about their mean wish."""
    total, members = group
    return total / members - 0.5 * gap * (members - 1)


def label_points(axes: Axes, labels: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """A name beside each point, where it covers the fewest points and names before it.

    Limits and the figure's layout must be final.
    """
    points = axes.transData.transform(np.column_stack([x, y]))
    frame = axes.get_window_extent()
    pixel = axes.figure.dpi / 72
    taken = [(px - 3 * pixel, py - 3 * pixel, px + 3 * pixel, py + 3 * pixel) for px, py in points]
    for label, (px, py) in zip(labels, points, strict=True):
        width, height = 0.56 * SIZE * len(label) * pixel, 1.1 * SIZE * pixel
        best, least = (0.0, 0.0), np.inf
        for distance, (right, up) in product((5, 11, 18, 26), ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1),
                                                             (-1, 1), (-1, -1))):  # fmt: skip
            left = px + right * distance * pixel - (0 if right > 0 else width if right < 0 else width / 2)
            low = py + up * distance * pixel - (0 if up > 0 else height if up < 0 else height / 2)
            box = (left, low, left + width, low + height)
            out = max(frame.x0 - box[0], 0) + max(box[2] - frame.x1, 0) + max(frame.y0 - box[1], 0)
            out += max(box[3] - frame.y1, 0)
            cost = sum(_overlap(box, other) for other in taken) + 20 * height * out + 0.4 * distance * pixel * height
            if cost < least:
                best, least = (left, low), cost
        taken.append((*best, best[0] + width, best[1] + height))
        away = (best[0] + width / 2 - px, best[1] + height / 2 - py)
        far = abs(away[0]) > width / 2 + 8 * pixel or abs(away[1]) > height / 2 + 8 * pixel
        inside = axes.transAxes.inverted()
        axes.annotate(
            label,
            xy=_pair(inside.transform((px, py))),
            xycoords="axes fraction",
            xytext=_pair(inside.transform(best)),
            textcoords="axes fraction",
            fontsize=SIZE,
            va="bottom",
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.4, "shrinkB": 3} if far else None,
        ).set_in_layout(False)


def _pair(place: NDArray[np.float64]) -> tuple[float, float]:
    return float(place[0]), float(place[1])


Box = tuple[float, float, float, float]


def _overlap(one: Box, two: Box) -> float:
    """Area that two boxes (left, low, right, high) share."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return width * height if width > 0 and height > 0 else 0.0
