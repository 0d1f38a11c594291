"""The loss along rising learning rates, with the rate that follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from inference.pictures.style import COLOURS, GREYS, new_figure


def learning_rate_plot(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggested: float | None
) -> Figure:
    """Draw losses and their moving mean over the learning rates of updates, both logarithmic.

    suggested: is marked; None where no rate is.
    """
    figure, axes = new_figure(1, 1, panel=(5.0, 3.2))
    panel = axes[0, 0]
    panel.plot(rates, losses, color=GREYS[2], linewidth=0.8, label="loss")
    panel.plot(rates, smooth, color=COLOURS[0], linewidth=1.6, label="moving mean")
    if suggested is not None:
        panel.axvline(suggested, color=COLOURS[1], linewidth=1.2, label=f"suggested: {suggested:.2g}")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("learning rate")
    panel.set_ylabel("loss")
    panel.legend(frameon=False)
    return figure
