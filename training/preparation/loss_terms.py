"""The loss of one step of a rollout: its unit, the weights of variables, members, and errors by wavenumber."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.data.names import split_level
from emulator.foundation.shard_group import total_over_nodes
from emulator.neural import NeuralEmulator
from emulator.scores import fair_crps, mean_of_error
from emulator.task import Task, names_of, refuse_transforms
from graphs.errors import MeshcastError
from graphs.harmonics.basis import orthonormal_basis
from graphs.harmonics.nodes import weighted_pseudo_inverse
from graphs.mesh import Mesh
from inference.scores.flow import resolved_degree
from training.losses import find_loss
from training.preparation.prepared import Prepared
from training.preparation.windows import NOISE_SIZE, Windows, normalised_pairs
from training.strategies import matched

LEAST_POWER = 0.01  # of the mean over waves: less, at a wave that data hardly hold, would make its error the whole loss


class LossTerms(nn.Module):
    """The loss of fields at one lead time, a function of the error averaged over area.

        L_v = w_v [(1 - s) ⟨f(e_v)⟩ + s Σ_k |ê_v(k)|² / (K P_v(k))],    e_v = (forecast - truth) / unit_v

    f: `training.loss`, ⟨⟩ the area mean. w: weights of the variables, their mean one. s: `training.spectral_share`;
    |ê(k)|²: the error's power at each of K waves, whose sum is the mean square, P(k) that of the first guess's error.
    With `loss: crps` ⟨f⟩ is the fair CRPS of the members in that unit.

    unit: [predicted] in physical units; None is what the first guess leaves. weights: [predicted], None where equal.
    """

    def __init__(
        self,
        loss: str,
        unit: Tensor | None = None,
        weights: Tensor | None = None,
        share: float = 0.0,
        waves: WaveError | None = None,
    ) -> None:
        super().__init__()
        self.loss, self.function, self.share, self.waves = loss, find_loss(loss), share, waves
        self.unit = None if unit is None else nn.Buffer(unit, persistent=False)
        self.weights = None if weights is None else nn.Buffer(weights, persistent=False)

    def hold(self, nodes: NDArray[np.int64]) -> None:
        """Have fields hold one shard's nodes alone; what is averaged or summed over nodes stays that of all."""
        if self.waves is not None:
            self.waves.hold(nodes)

    def forward(self, emulator: NeuralEmulator, forecast: Tensor, truth: Tensor) -> Tensor:
        """Return the loss [..., variable] of fields [..., node, variable], the predicted or the first of them.

        In double precision where the fields are. Of `loss: crps` with several members forecasts are [batch, member,
        node, variable], the truth has one member, and the loss is [batch, variable].
        """
        count, dtype = forecast.shape[-1], forecast.dtype
        inputs = emulator.inputs
        scale = (inputs.std * emulator.correction_std if self.unit is None else self.unit)[:count].to(dtype)
        areas = emulator.node_weights[..., :count].to(dtype)
        if self.loss == "crps" and forecast.ndim == 4 and forecast.shape[1] > truth.shape[1]:
            found = fair_crps(forecast / scale, truth[:, 0] / scale, areas)
        else:
            found = mean_of_error(self.function, forecast / scale, truth / scale, areas)
        if self.waves is not None:
            found = (1.0 - self.share) * found + self.share * self.waves((forecast - truth) / scale)
        return found if self.weights is None else found * self.weights[:count].to(dtype)


class WaveError(nn.Module):
    """The squared error by wavenumber on a ring, or by degree of spherical harmonics, each in units of its own.

    On the sphere harmonics are fitted to the nodes by least squares up to the degree they resolve, 42 at most; shorter
    waves are not counted. Components of a wind count as two scalars.

    unit: [wave, variable] power that counts as one.
    Raises MeshcastError on a mesh that is neither a ring nor covers the sphere.
    """

    def __init__(self, mesh: Mesh, num_variables: int) -> None:
        super().__init__()
        self.matrix: Tensor | None
        if mesh.domain.kind == "ring" and len(mesh.shape) == 1:
            self.matrix, num_waves = None, mesh.num_nodes // 2 + 1
        else:
            if (highest := resolved_degree(mesh)) is None:
                raise MeshcastError(
                    "training.spectral_share counts errors by wavenumber on a ring or by degree on the whole sphere, "
                    f"but this is a {mesh.describe()}, whose nodes resolve no harmonics. Set it to 0."
                )
            basis, degrees = orthonormal_basis(mesh.positions, highest)
            matrix = torch.from_numpy(np.ascontiguousarray(weighted_pseudo_inverse(basis, mesh.areas)))
            self.matrix = nn.Buffer(matrix.float(), persistent=False)  # [coefficient, node]
            self.degree = nn.Buffer(torch.from_numpy(degrees.astype(np.int64)), persistent=False)
            num_waves = highest + 1
        self.unit = nn.Buffer(torch.ones(num_waves, num_variables), persistent=False)

    def hold(self, nodes: NDArray[np.int64]) -> None:
        """Have fields hold some nodes alone, as those of a shard."""
        assert self.matrix is not None, "the nodes of a ring are not split over processes"
        self.matrix = self.matrix[:, torch.from_numpy(nodes)]

    def power(self, fields: Tensor) -> Tensor:
        """Return the power [..., wave, variable] of fields [..., node, variable]; its sum is their mean square."""
        with torch.autocast(fields.device.type, enabled=False):
            fields = fields.movedim(-2, -1)  # [..., variable, node]
            if self.matrix is None:
                nodes = fields.shape[-1]
                waves = torch.fft.rfft(fields, norm="forward")
                power = waves.real**2 + waves.imag**2
                alone = (0,) if nodes % 2 else (0, nodes // 2)  # the others stand for both signs of a wavenumber
                twice = torch.full((power.shape[-1],), 2.0, dtype=power.dtype, device=power.device)
                twice[list(alone)] = 1.0
                power = power * twice
            else:
                squares = total_over_nodes(fields @ self.matrix.to(fields.dtype).T).square()
                power = squares.new_zeros(*squares.shape[:-1], len(self.unit)).index_add(-1, self.degree, squares)
            return power.movedim(-1, -2)

    def forward(self, error: Tensor) -> Tensor:
        """Return the mean over waves [..., variable] of the power of an error [..., node, variable] in its units."""
        power = self.power(error)
        return (power / self.unit[:, : power.shape[-1]].to(power.dtype)).mean(-2)


def loss_terms(prepared: Prepared, emulator: NeuralEmulator, windows: Windows) -> LossTerms:
    """Return the loss of an experiment, measured on its training part where it needs that.

    emulator: whose first guess is fitted. windows: of the training data.
    """
    training, task = prepared.config.training, prepared.task
    unit = None
    if training.loss_unit == "tendency":
        refuse_transforms(task, "training.loss_unit=tendency")
        unit = torch.from_numpy(prepared.part.statistics(task).tendency_std).float()
    terms = LossTerms(training.loss, unit, variable_weights(prepared), training.spectral_share)
    if training.spectral_share:
        if task.boundary or prepared.valid is not None:
            raise MeshcastError(
                "training.spectral_share needs values at every node of a ring or the sphere, but "
                f"{'this is a limited area' if task.boundary else 'some nodes are masked'}. Set it to 0."
            )
        terms.waves = WaveError(prepared.train.mesh, len(task.predicted))
        noise = training.noise * NOISE_SIZE[training.noise_kind]
        terms.waves.unit.copy_(_power_left(terms, emulator, windows, noise))
    return terms


def variable_weights(prepared: Prepared) -> Tensor | None:
    """Return what each predicted variable counts for in the loss, their mean one; None where all count alike."""
    training, task = prepared.config.training, prepared.task
    names = list(names_of(task.predicted))
    weights = np.ones(len(names))
    fitting = matched(tuple(training.loss_weights), names, "training.loss_weights", "the predicted variables")
    for pattern, found in fitting.items():
        weights[[names.index(name) for name in found]] *= training.loss_weights[pattern]
    if training.level_weights == "pressure":
        weights *= pressure_weights(task)
    if not weights.any():
        raise MeshcastError("training.loss_weights leaves no predicted variable a weight. Give one above 0.")
    return None if len(set(weights)) == 1 else torch.from_numpy(weights / weights.mean()).float()


def pressure_weights(task: Task) -> np.ndarray:
    """Return weights [predicted] in proportion to pressure, the mean of the levels one, and one without a level.

    Lam et al. (2023), doi:10.1126/science.adi2336, weigh levels so.
    """
    levels = [split_level(name)[1] for name in names_of(task.predicted)]
    known = [level for level in levels if level is not None]
    if not known:
        raise MeshcastError(
            "training.level_weights=pressure weighs variables on pressure levels, as t_850, but predicted are "
            f"{', '.join(names_of(task.predicted))}. Set it to equal, or use training.loss_weights."
        )
    mean = math.fsum(known) / len(known)
    return np.array([1.0 if level is None else level / mean for level in levels])


@torch.no_grad()
def _power_left(terms: LossTerms, emulator: NeuralEmulator, windows: Windows, noise: float) -> Tensor:
    """Return the power [wave, predicted] of what the first guess leaves on noisy input, in the units of the loss."""
    assert terms.waves is not None
    unit = emulator.correction_std if terms.unit is None else terms.unit / emulator.inputs.std
    total, count = torch.zeros_like(terms.waves.unit, dtype=torch.float64), 0
    generator = torch.Generator().manual_seed(0)
    for features, state, target in normalised_pairs(emulator, windows):
        inputs = features[..., : emulator.inputs.num_fields]
        inputs += noise * torch.randn(inputs.shape, generator=generator) * emulator.inputs.noise_size
        power = terms.waves.power((target - emulator.guess(features, state)[0]) / unit)
        total += power.double().sum(dim=0)
        count += len(power)
    mean = total / count
    return mean.clamp_min(LEAST_POWER * mean.mean(dim=0)).clamp_min(1e-14).float()
