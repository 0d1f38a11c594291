"""The curves of a training: its loss, and the error of validation rollouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from graphs.errors import MeshcastError
from inference.pictures.style import COLOURS, journal, new_figure, plain_decades


def loss_curves(log: Path) -> Figure:
    """Draw losses over epochs, and below them the scores of validation rollouts with the best marked, from a CSV log.

    The log has a column `epoch`, columns named `*loss*` and perhaps `*score*`. Rows of one epoch are averaged. Epochs
    count from 0, as in Lightning's log, unless there is a column `update`.
    """
    try:
        table = pd.read_csv(log)
    except (OSError, ValueError) as error:
        raise MeshcastError(f"Cannot read the training log {log}: {error}") from None
    columns = [name for name in table.columns if not name.endswith("_step")]
    losses, marks = ([name for name in columns if kind in name] for kind in ("loss", "score"))
    if "epoch" not in table or not losses:
        raise MeshcastError(f"{log} needs a column `epoch` and one named like `loss`; it has {list(table.columns)}.")
    means = table.groupby("epoch")[losses + marks].mean().replace([np.inf, -np.inf], np.nan)
    means.index = means.index if "update" in table else means.index + 1
    beside = log.with_name("losses.csv")  # a row every few updates
    fine_loss = pd.read_csv(beside, index_col="epoch")["loss"].replace(np.inf, np.nan) if beside.is_file() else None
    shown = [
        (names, label) for names, label in ((losses, "loss"), (marks, "score")) if means[names].notna().any(axis=None)
    ]
    with journal():
        figure, grid = new_figure(max(len(shown), 1), 1, (5.0, 3.2 if len(shown) < 2 else 2.3), sharex=True)
        for axes, (names, label) in zip(grid[:, 0], shown, strict=False):
            for name, color in zip(names, COLOURS if label == "loss" else COLOURS[1:], strict=False):
                curve = (fine_loss if name == "loss" and fine_loss is not None else means[name]).dropna()
                axes.plot(curve.index, curve, color=color, marker="o" if len(curve) < 30 else None, markersize=3)
                axes.lines[-1].set_label("training loss" if name == "loss" else _readable(name))
                if label == "score" and len(curve):
                    best = curve.idxmin()
                    axes.plot(best, curve[best], "o", color=color, markersize=7, fillstyle="none", label="best, kept")
            axes.set_ylabel(label)
            if np.nanmin(means[names].to_numpy()) > 0:
                axes.set_yscale("log")
                plain_decades(axes)
            axes.legend()
        grid[-1, 0].set_xlabel("epoch")
        grid[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _readable(column: str) -> str:
    """Return `val_loss_epoch` as `validation loss`."""
    words = column.replace("/", " ").replace("_", " ").removesuffix(" epoch").split()
    full = {"val": "validation", "train": "training"}
    return " ".join(full.get(word, word) for word in words)
