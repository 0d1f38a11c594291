"""Area-weighted scores of fields: one copy, for the training loss and for verification.

Fields are [..., node, variable], ensembles [..., member, node, variable], `areas` [node]; scores are [..., variable].
Where the truth is NaN the node is masked, and counts nowhere. A NaN in the forecast is a forecast that failed, and
makes its score NaN. Sums run in the type of the arguments: verification passes float64. Within a block of
`ShardGroup.holding` fields are of one shard's nodes, and means over nodes those over the nodes of all shards.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from emulator.foundation.shard_group import nodes_are_shared, total_over_nodes

ROUNDING = 2.0**-23  # of float32, relative: an error below it says nothing of an emulator


def weighted_mean(x: Tensor, areas: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return Σ aᵢ xᵢ / Σ aᵢ, [..., variable].

    valid: [..., node, variable] the nodes to count, all of them if None.
    areas: [node], or [node, variable] where a variable has weights of its own.
    """
    weights = areas.to(dtype=x.dtype, device=x.device)
    weights = weights[:, None] if weights.ndim == 1 else weights
    if valid is None:
        return _over_all_nodes((x * weights).sum(-2), weights.sum(-2))
    # `where` before the product: NaN times a weight of zero would still be NaN, and so would its gradient.
    x = torch.where(valid, x, torch.zeros((), dtype=x.dtype, device=x.device))
    return _over_all_nodes((x * weights).sum(-2), torch.where(valid, weights, torch.zeros_like(weights)).sum(-2))


def _over_all_nodes(total: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of sums over nodes, which may be one shard's: then of all, with the gradient of that."""
    if not nodes_are_shared():
        return total / weight
    total, weight = total_over_nodes(torch.stack([total, weight.expand_as(total)])).unbind()
    return total / weight


def mean_of_error(function: Callable[[Tensor], Tensor], forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the area mean of a function of the error, such as a loss."""
    error, valid = _error(forecast, truth)
    return weighted_mean(function(error), areas, valid)


def mse(forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the mean squared error; its square root, taken after the mean over cases, is the RMSE."""
    return mean_of_error(torch.square, forecast, truth, areas)


def mae(forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the mean absolute error."""
    return mean_of_error(torch.abs, forecast, truth, areas)


def bias(forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the mean of forecast minus truth."""
    return mean_of_error(lambda error: error, forecast, truth, areas)


def nrmse(forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return ‖forecast - truth‖ / ‖truth‖ in the area-weighted 2-norm (Koehler et al. 2024, arXiv:2411.00180)."""
    error, valid = _error(forecast, truth)
    return (weighted_mean(error.square(), areas, valid) / weighted_mean(truth.square(), areas, valid)).sqrt()


def vrmse(forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return √(mean (x - y)² / (mean (y - mean y)² + 1e-7)), y the truth, every node counting the same.

    The Well's score of a component of a field (Ohana et al. 2024, arXiv:2412.00568), whose mean over fields it reports:
    on its unweighted grids the poles count as much as the equator, and 1 is the score of the truth's mean. Its code
    divides the variance by one node less. Nodes without area, as of a boundary, do not count.
    """
    counted = (areas > 0).to(truth.dtype)
    error, valid = _error(forecast, truth)
    return (weighted_mean(error.square(), counted, valid) / (variance(truth, counted, valid) + 1e-7)).sqrt()


def acc(forecast: Tensor, truth: Tensor, climatology: Tensor, areas: Tensor) -> Tensor:
    """Return the anomaly correlation, not centred: Σ a f′t′ / √(Σ a f′² Σ a t′²) of departures from climatology.

    The form of Rasp et al. (2024), WeatherBench 2, doi:10.1029/2023MS004019. `climatology` broadcasts to the fields.
    """
    valid = _valid(truth)
    f, t = forecast - climatology, truth - climatology
    squares = weighted_mean(f.square(), areas, valid) * weighted_mean(t.square(), areas, valid)
    return weighted_mean(f * t, areas, valid) / squares.sqrt()


def variance(x: Tensor, areas: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the area-weighted variance about the area mean."""
    anomaly = x - weighted_mean(x, areas, valid).unsqueeze(-2)
    return weighted_mean(anomaly.square(), areas, valid)


def amplitude_ratio(forecast: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the spatial standard deviation of the forecast over the truth's; 1 keeps the amplitude, less damps."""
    valid = _valid(truth)
    return (variance(forecast, areas, valid) / variance(truth, areas, valid)).sqrt()


def ensemble_variance(ensemble: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the area mean of the unbiased variance between members; its root after the mean over cases is the spread.

    With m exchangeable members a reliable ensemble has spread² (m + 1) / m = MSE of its mean (Fortin et al. 2014,
    doi:10.1175/JHM-D-14-0008.1, eq. 15).
    """
    return weighted_mean(ensemble.var(dim=-3, correction=1), areas, _valid(truth))


def crps(ensemble: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the continuous ranked probability score of the members' distribution: E|X - y| - ½ E|X - X′|.

    Gneiting and Raftery (2007), doi:10.1198/016214506000001437, eq. 21. One member gives the absolute error.
    """
    members = ensemble.shape[-3]
    return _crps(ensemble, truth, areas, pairs=members * members)


def fair_crps(ensemble: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """Return the CRPS that an ensemble drawn from the true distribution minimises: pairs of different members only.

    Ferro (2014), doi:10.1002/qj.2270. It needs two members or more; one gives NaN.
    """
    members = ensemble.shape[-3]
    return _crps(ensemble, truth, areas, pairs=members * (members - 1))


def _crps(ensemble: Tensor, truth: Tensor, areas: Tensor, pairs: int) -> Tensor:
    valid = _valid(truth)
    observed = truth if valid is None else torch.where(valid, truth, torch.zeros_like(truth))
    distance = (ensemble - observed.unsqueeze(-3)).abs().mean(-3)
    # Σᵢⱼ |xᵢ - xⱼ| = 2 Σₖ (2k - m - 1) x₍ₖ₎ over the sorted members, k from 1.
    members = ensemble.shape[-3]
    rank = 2 * torch.arange(1, members + 1, device=ensemble.device, dtype=ensemble.dtype) - members - 1
    difference = 2 * (ensemble.sort(dim=-3).values * rank[:, None, None]).sum(-3)
    half = difference / (2 * pairs) if pairs else torch.full_like(difference, torch.nan)
    return weighted_mean(distance - half, areas, valid)


def _error(forecast: Tensor, truth: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return forecast minus truth, zero where the truth is masked so that no NaN reaches a gradient, and the mask."""
    valid = _valid(truth)
    if valid is None:
        return forecast - truth, None
    return torch.where(valid, forecast - truth, torch.zeros_like(truth)), valid


def _valid(truth: Tensor) -> Tensor | None:
    """Return where the truth is there, or None where it is everywhere, which saves the masked sums."""
    if not bool(torch.isnan(truth.sum())):  # a NaN reaches the sum, which is found in a fifth of the time
        return None
    missing = torch.isnan(truth)
    return ~missing if bool(missing.any()) else None
