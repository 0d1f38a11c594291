"""Metrics: what each score is, how it is averaged over cases and seeds, and where it is shown."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from emulator import scores
from emulator.plugins import contributed
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.scores import conservation, wet_area

ARGUMENTS = {
    "forecast": "[case, lead, node, variable], the mean of an ensemble",
    "ensemble": "[case, lead, member, node, variable]",
    "truth": "[case, lead, node, variable], NaN where masked",
    "areas": "[node], the share of each node",
    "climatology": "[case, lead, node, variable]; only where one was given",
    "initial": "[case, node, variable], the truth at the initial time",
    "known": "[node, variable], whether the truth ever has a value",
    "wind": "[case, lead, node, component], eastward and northward; only where a wind is forecast",
    "true_wind": "[case, lead, node, component]",
    "mesh": "the Mesh",
    "wet": "[variable], from which value on a place is wet, NaN where none is; only where a variable is rain",
}
PLACES = ("table", "curve", "comparison")


@dataclass(frozen=True)
class Metric:
    """Defines a score of each case, lead time and variable, and what tables, curves and comparisons need to know of it.

    function: returns [case, lead, variable], or [case, lead] of a wind, which then stands for both components. Its
        arguments, called as in `ARGUMENTS`, say what it needs; where a forecast cannot give one the metric is left out.
    unit: of the score, "1" for none, None for that of the variable.
    better: `smaller`, `larger`, or `nearest` to the value that is `perfect`, None where no value is.
    root: whether `function` returns a square, whose root is taken after the mean over cases.
    geometric: whether seeds are averaged, and rows of a comparison divided, as logarithms; for positive errors.
    relative: whether it divides by the truth's size, which says something only of variables that vary about zero.
    members: the fewest members it needs.
    over: another metric, whose mean over cases divides this one's.
    whole_sphere: whether it needs nodes all over the sphere.
    shown: where a report shows it, of `PLACES`; files hold every metric.
    """

    title: str
    function: Callable[..., Tensor]
    unit: str | None = None
    better: Literal["smaller", "larger", "nearest"] = "smaller"
    perfect: float | None = 0.0
    root: bool = False
    geometric: bool = False
    relative: bool = False
    members: int = 1
    over: str | None = None
    whole_sphere: bool = False
    shown: Sequence[str] = PLACES

    def __post_init__(self) -> None:
        allowed = {"better": ("smaller", "larger", "nearest"), "shown": PLACES, "argument": tuple(ARGUMENTS)}
        chosen = {"better": (self.better,), "shown": self.shown, "argument": self.arguments}
        for name, values in chosen.items():
            if unknown := [str(value) for value in values if value not in allowed[name]]:
                raise MeshcastError(
                    f"The metric {self.title!r} has {name} {', '.join(unknown)}; there are {', '.join(allowed[name])}."
                )

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Return what the function is called with: its parameters but those that have a default."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.name in ARGUMENTS or p.default is p.empty)

    def with_unit(self, variable_unit: str, variable: str = "") -> str:
        """Return the title, of a variable if it is named, with the unit in brackets."""
        title = f"{self.title} of {variable}" if variable else self.title
        unit = variable_unit if self.unit is None else self.unit
        return title if unit in ("", "1") else f"{title} [{unit}]"


def _amplitude_ratio(ensemble: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    return scores.amplitude_ratio(ensemble, truth.unsqueeze(2).expand_as(ensemble), areas).mean(2)


# By name; plug-ins add theirs.
METRICS: dict[str, Metric] = contributed("METRICS")
METRICS |= {
    "rmse": Metric("RMSE", scores.mse, root=True, geometric=True),
    "mae": Metric("MAE", scores.mae, geometric=True, shown=()),
    "bias": Metric("bias", scores.bias, better="nearest", shown=("table",)),
    "nrmse": Metric("nRMSE", scores.nrmse, "1", geometric=True, relative=True, shown=("table", "curve")),
    "vrmse": Metric("unweighted VRMSE", scores.vrmse, "1", geometric=True, shown=()),
    "acc": Metric("anomaly correlation", scores.acc, "1", "larger", 1.0),
    "amplitude_ratio": Metric("amplitude ratio", _amplitude_ratio, "1", "nearest", 1.0, shown=()),
    "spread": Metric(
        "ensemble spread", scores.ensemble_variance, perfect=None, root=True, geometric=True, members=2, shown=()
    ),
    "crps": Metric("CRPS", scores.crps, geometric=True, members=2, shown=("table", "curve")),
    "fair_crps": Metric("fair CRPS", scores.fair_crps, geometric=True, members=2, shown=()),
    "wet_area_bias": Metric(
        "bias of the wet area",
        wet_area.wet_area_excess,
        "1",
        "nearest",
        over="truth_wet_area",
        shown=("table",),
    ),
    "csi": Metric(
        "critical success index", wet_area.wet_hits, "1", "larger", 1.0, over="wet_in_either", shown=("table",)
    ),
    "truth_wet_area": Metric("truth's wet area", wet_area.truth_wet_area, "1", perfect=None, shown=()),
    "wet_in_either": Metric("wet area of forecast or truth", wet_area.wet_in_either, "1", perfect=None, shown=()),
    "mean_drift": Metric("drift of the area mean", conservation.mean_drift, better="nearest", shown=()),
    "mean_square_drift": Metric(
        "relative drift of the mean square", conservation.mean_square_drift, "1", "nearest", shown=()
    ),
    "truth_mean_drift": Metric("truth's drift of the area mean", conservation.truth_mean_drift, perfect=None, shown=()),
    "truth_mean_square_drift": Metric(
        "truth's relative drift of the mean square", conservation.truth_mean_square_drift, "1", perfect=None, shown=()
    ),
}


def shown_in(place: str) -> list[str]:
    """Return the names of the metrics that reports show as `table`, `curve` or `comparison`."""
    return [name for name, metric in METRICS.items() if place in metric.shown]


def case_scores(
    forecast: Tensor,
    truth: Tensor,
    areas: Tensor,
    *,
    climatology: Tensor | None = None,
    initial: Tensor | None = None,
    known: Tensor | None = None,
    mesh: Mesh | None = None,
    wind: tuple[int, int] | None = None,
    wet: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return what every metric that these arguments allow finds of each case, [case, lead, variable] in float64.

    forecast: [case, member, lead, node, variable].
    wind: columns of the eastward and the northward component.
    The others are as in `ARGUMENTS`.
    """
    forecast, truth = forecast.double(), truth.double()
    mean = forecast.mean(1) if forecast.shape[1] > 1 else forecast[:, 0]
    given: dict[str, Any] = {
        "forecast": mean,
        "ensemble": forecast.transpose(1, 2),
        "truth": truth,
        "areas": areas.double(),
        "climatology": climatology,
        "initial": initial,
        "known": known,
        "mesh": mesh,
        "wet": wet,
        "wind": None,
        "true_wind": None,
    }
    asked = {argument for m in METRICS.values() if isinstance(m, Metric) for argument in m.arguments}
    if wind is not None and asked & {"wind", "true_wind"}:  # copies, which take as long as a score
        given |= {"wind": mean[..., list(wind)], "true_wind": truth[..., list(wind)]}
    whole = mesh is not None and mesh.domain.kind == "sphere"
    found = {}
    for name, metric in METRICS.items():
        if not isinstance(metric, Metric):
            raise MeshcastError(f"{name!r} of METRICS must be a Metric, not a {type(metric).__name__}.")
        arguments = {argument: given[argument] for argument in metric.arguments}
        enough = forecast.shape[1] >= metric.members and (whole or not metric.whole_sphere)
        if enough and all(value is not None for value in arguments.values()):
            try:
                score = metric.function(**arguments)
            except Exception as error:
                raise MeshcastError(f"The metric {name} fails: {type(error).__name__}: {error}") from error
            found[name] = _of_every_variable(name, score, truth, wind)
    return found


def _of_every_variable(name: str, score: Tensor, truth: Tensor, wind: tuple[int, int] | None) -> Tensor:
    """Return [case, lead, variable] of what a function returned, NaN but for the components of a wind."""
    cases, leads, _, variables = truth.shape
    if score.shape == (cases, leads, variables):
        return score
    if wind is None or score.shape != (cases, leads):
        raise MeshcastError(
            f"The metric {name} must return [case, lead, variable], here {[cases, leads, variables]}, but returned "
            f"{list(score.shape)}. Average over nodes, as emulator.scores.weighted_mean does."
        )
    every = torch.full((cases, leads, variables), torch.nan, dtype=torch.float64)
    every[..., list(wind)] = score[..., None].double()
    return every
