"""Pictures of small networks at work: fits, training histories, names given rightly and wrongly, reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from inference.pictures.style import COLOURS, DASHES, TRUTH, grouped_panels, journal, legend, new_figure
from training.optimisation.descent import Losses

BLUE, RED = COLOURS[0], "#C1121F"  # right and wrong, told apart with any colour vision


def fitted_curve(
    x: ArrayLike, truth: ArrayLike, approximation: ArrayLike, samples: tuple[ArrayLike, ArrayLike], history: Losses
) -> Figure:
    """Draw truth, noisy samples (x, y) and approximation of a curve [point], and beside them the training history."""
    with journal():
        figure, ((left, right),) = new_figure(1, 2)
        left.plot(*samples, ".", color="0.75", markersize=2, label="samples")
        left.plot(x, truth, label="truth", **vars(TRUTH))
        left.plot(x, approximation, color=BLUE, label="approximation")
        left.set(xlabel="x", title="truth and approximation")
        left.legend(markerscale=4)
        _draw_history(right, {"": history})
        right.set_title("mean squared error")
    return figure


def fitted_surface(truth: ArrayLike, approximation: ArrayLike) -> Figure:
    """Draw a surface [x, t] over the unit square, its approximation, and ten times their difference."""
    true, fitted = np.asarray(truth), np.asarray(approximation)
    largest = float(np.abs(true).max())
    surfaces = {"truth": true, "approximation": fitted, "difference, ten times": 10 * (fitted - true)}
    with journal():
        figure, (row,) = new_figure(1, 3, (2.6, 2.6), sharey=True)
        for axes, (title, values) in zip(row, surfaces.items(), strict=True):
            image = _draw_field(axes, values.T, largest, (0, 1, 0, 1))
            axes.set(title=title, xlabel="x", xticks=[0.0, 0.5, 1.0])
        row[0].set_ylabel("t")
        figure.colorbar(image, ax=row, shrink=0.8)
    return figure


def training_histories(histories: Mapping[str, Losses], title: str) -> Figure:
    """Draw training loss solid and test loss dashed, over epochs; a colour a network."""
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.0, 3.2))
        _draw_history(axes, histories)
        axes.set_title(title)
    return figure


def named_functions(
    x: ArrayLike, functions: ArrayLike, true: ArrayLike, named: ArrayLike, kinds: Sequence[str]
) -> Figure:
    """Draw functions [function, sample], in blue where the name given is right and in red where it is wrong."""
    values = np.asarray(functions)
    with journal():
        figure, (row,) = grouped_panels(len(values), 6, (1.55, 1.25), sharex=True, sharey=True)
        for axes, curve, kind, name in zip(row, values, np.asarray(true), np.asarray(named), strict=True):
            right = kind == name
            axes.plot(x, curve, color=BLUE if right else RED, linewidth=1.2)
            title = kinds[name] if right else f"{kinds[name]}?\nis {kinds[kind]}"
            axes.set_title(title, fontsize=7, color=BLUE if right else RED)
            axes.tick_params(labelsize=6)
    return figure


def accuracy_curves(
    noises: Sequence[float], shares: Mapping[str, ArrayLike], trained_at: float, chance: float
) -> Figure:
    """Draw the share of names given rightly [noise] against the noise's standard deviation, a line a network."""
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (4.6, 3.0))
        for (name, share), colour in zip(shares.items(), COLOURS, strict=False):
            axes.plot(noises, np.asarray(share) * 100, "o-", color=colour, markersize=3, label=name)
        axes.axhline(chance * 100, color="0.5", linewidth=0.8, linestyle=DASHES[0], label="chance")
        axes.axvline(trained_at, color="0.5", linewidth=0.8, linestyle=DASHES[1], label="noise in training")
        axes.set(xlabel="standard deviation of the noise", ylabel="named rightly [%]", ylim=(0, 102))
        axes.legend()
    return figure


def confusion_matrix(counts: ArrayLike, names: Sequence[str]) -> Figure:
    """Draw what each kind was called: counts [true, named], shaded by their share of the row."""
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    with journal():
        side = 0.75 * len(names) + 1.2
        figure, ((axes,),) = new_figure(1, 1, (side + 0.4, side))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*table.shape):
            shade = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{table[row, column]}", ha="center", va="center", color=shade)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="named", ylabel="true")
        axes.grid(False)
    return figure


def reconstructions(sequences: Mapping[str, ArrayLike], reconstructed: Mapping[str, ArrayLike]) -> Figure:
    """Draw sequences [time] solid and their reconstructions dashed, what lies between them shaded; one panel each."""
    with journal():
        figure, (row,) = grouped_panels(len(sequences), 3, (2.9, 1.9), sharex=True, sharey=True)
        for axes, (title, values) in zip(row, sequences.items(), strict=True):
            original, returned = np.asarray(values), np.asarray(reconstructed[title])
            axes.plot(original, color=BLUE, linewidth=1.3, label="original")
            axes.plot(returned, color="black", linewidth=1.2, linestyle=DASHES[0], label="reconstruction")
            times = np.arange(len(original))
            axes.fill_between(times, original, returned, color=RED, alpha=0.35, linewidth=0, label="error")
            axes.set_title(title)
            if axes.get_subplotspec().is_last_row():
                axes.set_xlabel("sample")
        legend(figure, row[0])
    return figure


def scores_by_kind(scores: Mapping[str, ArrayLike], threshold: float, label: str) -> Figure:
    """Draw scores [history] of several kinds, a row of points each; beyond the threshold in red, others in blue."""
    draws = np.random.default_rng(0)
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.4, 0.36 * len(scores) + 0.9))
        for row, values in enumerate(scores.values()):
            points = np.asarray(values)
            colours = np.where(points > threshold, RED, BLUE)
            axes.scatter(points, row + draws.uniform(-0.22, 0.22, len(points)), s=7, c=colours, linewidths=0)
        axes.axvline(threshold, color="black", linewidth=0.8, linestyle=DASHES[0])
        axes.set_yticks(range(len(scores)), list(scores))
        axes.invert_yaxis()
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xlim(left=min(0.0, *(float(np.min(values)) for values in scores.values())) - 0.5)
        axes.set_xlabel(label)
    return figure


def ring_states(states: Mapping[str, ArrayLike], title: str) -> Figure:
    """Draw states [node] around a ring, the first thick and grey, the others in colour and dashed in turn."""
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.4, 3.0))
        for place, (name, values) in enumerate(states.items()):
            around = np.arange(np.size(values)) / np.size(values)
            dash = "-" if place < 2 else DASHES[(place - 2) % len(DASHES)]
            style = {"color": COLOURS[(place - 1) % len(COLOURS)], "linestyle": dash} if place else vars(TRUTH)
            axes.plot(around, values, label=name, **style)
        axes.set(xlabel="place on the ring", title=title)
        legend(figure, axes)
    return figure


def trajectories(values: Mapping[str, ArrayLike]) -> Figure:
    """Draw trajectories [frame, node] side by side, time upwards, each on a colour scale about zero."""
    with journal():
        figure, (row,) = new_figure(1, len(values), (2.0, 2.4), sharex=True, sharey=True)
        for axes, (title, field) in zip(row, values.items(), strict=True):
            shown = np.asarray(field)
            _draw_field(axes, shown, float(np.abs(shown).max()), (0, 1, 0, len(shown)), aspect="auto")
            axes.set(title=title, xlabel="place on the ring")
        row[0].set_ylabel("frame")
    return figure


def _draw_field(
    axes: Axes, values: ArrayLike, largest: float, extent: tuple[float, float, float, float], **options: Any
) -> AxesImage:
    axes.grid(False)
    return axes.imshow(values, origin="lower", cmap="RdBu_r", vmin=-largest, vmax=largest, extent=extent, **options)


def _draw_history(axes: Axes, histories: Mapping[str, Losses]) -> None:
    for (name, history), colour in zip(histories.items(), COLOURS, strict=False):
        label = f"{name}, " if name else ""
        axes.plot(history.epoch, history.training, color=colour, label=f"{label}training")
        if history.test:
            axes.plot(history.epoch, history.test, color=colour, linestyle=DASHES[0], label=f"{label}test")
    axes.set(yscale="log", xlabel="epoch")
    axes.legend()
