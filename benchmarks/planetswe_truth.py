"""planetswe on its solver's Gaussian grid, between there and the nodes of an emulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator import scores
from emulator.data.sources import open_fields
from emulator.data.starts import InitialConditions
from emulator.physics.shallow_water import ShallowWater
from emulator.physics.simulate import load_simulation
from emulator.physics.sphere_simulation import SphereSimulationConfig
from emulator.state import State
from emulator.task import Task
from graphs.harmonics.basis import truncated
from graphs.harmonics.nodes import Evaluation, NodeProjection, WindProjection
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from meshcast.commands.configs import config_path

Array = NDArray[np.float64]
Index = NDArray[np.int64]
NAMES = ("h", "u", "v")
SHARE = 0.9  # coefficients a node of an icosphere: as many as a fit without noise can tell apart


def sphere_simulation(name: str) -> SphereSimulationConfig:
    """Return the configuration of a simulation on the sphere, of a file or the name of a shipped one."""
    found = load_simulation(config_path(Path(name)))
    if not isinstance(found, SphereSimulationConfig):
        raise SystemExit(f"{name} simulates no flow on the sphere.")
    return found


class GridTruth:
    """Test trajectories on the Gaussian grid of the solver's truncation, from which coefficients follow exactly.

    simulation: the configuration they were simulated with. path: the dataset.
    """

    def __init__(self, simulation: SphereSimulationConfig, path: Path) -> None:
        self.simulation, self.fields = simulation, open_fields(str(path))
        self.transform = SphericalTransform(simulation.equation.truncation, dtype=torch.float32)
        self.shape = (self.transform.num_latitudes, self.transform.num_longitudes)
        if self.fields.mesh.shape != self.shape:
            raise SystemExit(f"{path} is on a {self.fields.mesh.describe()}, not on the solver's {self.shape}.")

    def grid(self, frame: Index, row: Index) -> NDArray[np.float32]:
        """Return h, u, v [case, latitude, longitude, 3] of frames and trajectories [case], rows from north to south."""
        values = np.stack(
            [self.fields.read(np.array([f]), NAMES, int(r))[0, 0] for f, r in zip(frame, row, strict=True)]
        )
        return values.reshape(-1, *self.shape, 3)

    def coefficients(self, grid: NDArray[np.float32]) -> Tensor:
        """Return radius times vorticity and divergence, then height [field, order, offset, case], of fields."""
        h, u, v = torch.from_numpy(np.ascontiguousarray(grid[:, ::-1])).permute(
            3, 1, 0, 2
        )  # [latitude, case, longitude]
        cosine = self.transform.cos_latitude
        divergence, vorticity = self.transform.divergence_and_curl(u * cosine, v * cosine)
        return torch.stack([vorticity, divergence, self.transform.analysis(h)])

    def on_grid(self, coefficients: Tensor) -> NDArray[np.float32]:
        """Return h, u, v [case, latitude, longitude, 3] of coefficients of this or a lower truncation."""
        wide = torch.stack([truncated(field, self.transform.truncation) for field in coefficients]).to(torch.complex64)
        u, v = (
            self.transform.synthesis(part) / self.transform.cos_latitude
            for part in self.transform.wind(wide[0], wide[1])
        )
        fields = torch.stack([self.transform.synthesis(wide[2]), u, v], dim=-1)  # [latitude, case, longitude, 3]
        return fields.flip(0).transpose(0, 1).numpy()

    def solver_state(self, coefficients: Tensor, equation: ShallowWater) -> Tensor:
        """Return the spectral state of an equation of lower truncation, from the truth's coefficients."""
        cut = torch.stack([truncated(field, equation.config.truncation) for field in coefficients])
        radius, gravity = equation.config.radius, equation.config.gravity
        return equation.of_depth(torch.stack([cut[0] / radius, cut[1] / radius, gravity * cut[2]]))

    def of_solver(self, state: Tensor, equation: ShallowWater) -> Tensor:
        """Return the coefficients of the truth's fields of a spectral state; `solver_state` undone."""
        radius, gravity = equation.config.radius, equation.config.gravity
        vorticity, divergence, geopotential = equation.of_surface(state)
        return torch.stack([vorticity * radius, divergence * radius, geopotential / gravity])


class NodeView:
    """The way between coefficients and the nodes of an emulator's mesh."""

    def __init__(self, truth: GridTruth, mesh: Mesh) -> None:
        self.truth, self.mesh = truth, mesh
        self.truncation = min(truth.transform.truncation, int(np.sqrt(SHARE * mesh.num_nodes)) - 1)
        self._evaluation = Evaluation(mesh, truth.transform.truncation)
        self._heights = NodeProjection(mesh, self.truncation)
        self._winds = WindProjection(mesh, SphericalTransform(self.truncation))

    def at_nodes(self, coefficients: Tensor) -> Tensor:
        """Return h, u, v [case, node, 3] of the truth's coefficients."""
        u, v = self._evaluation.wind(coefficients[0], coefficients[1], self.truth.transform)
        return torch.stack([self._evaluation.field(coefficients[2]), u, v], dim=-1)

    def coefficients(self, nodes: NDArray[np.float32]) -> Tensor:
        """Return the coefficients [field, order, offset, case] that fit h, u, v [case, node, 3]."""
        h, u, v = torch.from_numpy(nodes.astype(np.float64)).unbind(-1)
        return torch.stack([*self._winds.coefficients(u, v), self._heights.coefficients(h)]).to(torch.complex64)

    def initial(self, coefficients: Tensor, time: Index, row: Index, task: Task) -> InitialConditions:
        """Return the truth's states at the nodes as an emulator of h, u and v starts from them."""
        order = [NAMES.index(name) for name in task.prognostic]
        values = self.at_nodes(coefficients)[:, None, None][..., order]
        return InitialConditions(State(values, time), row, {})


def solver_of(truth: GridTruth, truncation: int, step: float, e_folding: float | None = None) -> ShallowWater:
    """Return the truth's equation at a lower truncation, with its diffusion by default."""
    equation = truth.simulation.equation
    diffusion = equation.diffusion
    if e_folding is not None and diffusion is not None:
        diffusion = replace(diffusion, e_folding=e_folding)
    return ShallowWater(replace(equation, truncation=truncation, longest_step=step, diffusion=diffusion))


def vrmse(found: NDArray[np.float32], truth: NDArray[np.float32]) -> Array:
    """Return The Well's VRMSE [case, variable] of fields [case, latitude, longitude, variable]; see `scores.vrmse`."""
    x, y = (torch.from_numpy(fields.reshape(len(fields), -1, fields.shape[-1])).double() for fields in (found, truth))
    return scores.vrmse(x, y, torch.ones(x.shape[1], dtype=torch.float64)).numpy()
