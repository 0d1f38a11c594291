"""A plug-in with metrics of its own, for `meshcast verify --plugin` and `meshcast compare --plugin`."""

from __future__ import annotations

from torch import Tensor

from emulator.scores import weighted_mean
from meshcast import Metric


def largest_error(forecast: Tensor, truth: Tensor) -> Tensor:
    """Return the largest error of all nodes: [..., variable] of fields [..., node, variable]."""
    return (forecast - truth).abs().amax(dim=-2)


def vector_mse(wind: Tensor, true_wind: Tensor, areas: Tensor) -> Tensor:
    """Return the mean squared length of the error of the wind, of fields [..., node, component]."""
    return weighted_mean((wind - true_wind).square(), areas).sum(dim=-1)


METRICS = {
    "largest_error": Metric("largest error", largest_error, geometric=True),
    "vector_rmse": Metric("RMSE of the wind vector", vector_mse, root=True, geometric=True),
}
