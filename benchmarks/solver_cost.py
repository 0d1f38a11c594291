"""What a hybrid emulator costs beside the solvers, one core: seconds per simulated day and trajectory, as JSON.

    python benchmarks/solver_cost.py configs/shallow-water-hybrid.yaml > cost.json

The network's weights are drawn at random, since its cost does not depend on them.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch

from emulator.baselines.coarse_solver import CoarseSolver, CoarseSolverConfig
from emulator.baselines.first_guess import SolverStep
from emulator.build import build_network
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.protocol import Emulator, rollout
from emulator.state import State
from emulator.task import Task, Variable
from graphs.meshes.icosphere import icosphere
from training.experiment import ExperimentConfig

TRAJECTORIES = 16
REPEATS = 5


def seconds_a_day(emulator: Emulator) -> float:
    """Processor time of one simulated day of one trajectory, the least of several, in a batch of TRAJECTORIES."""
    values = torch.tensor([10_000.0, 10.0, 0.0]).expand(TRAJECTORIES, 1, 1, emulator.mesh.num_nodes, 3).clone()
    values += torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    state, steps = State(values, np.zeros(TRAJECTORIES, dtype=np.int64)), 86_400 // emulator.task.time_step.count
    forcings, taken = Forcings(ComputedForcings(emulator.mesh)), []
    for _ in range(REPEATS):
        start = time.process_time()
        with torch.no_grad():
            for _ in rollout(emulator, state, forcings, steps):
                pass
        taken.append(time.process_time() - start)
    return min(taken) / TRAJECTORIES


def main(path: str) -> None:
    torch.set_num_threads(1)
    config = load(ExperimentConfig, path)
    assert isinstance(config.emulator, GNNConfig)
    mesh, flow = icosphere(3), (("h", "m"), ("u", "m s-1"), ("v", "m s-1"))
    partners = config.task.partners
    variables = [Variable(name, "prognostic", units, partners.get(name)) for name, units in flow]
    variables += [Variable(name, "static") for name in config.task.static]
    task = Task(tuple(variables), TimeStep.parse("3h"))
    hybrid = build_network(config.emulator, task, mesh, len(task.static)).eval()
    found = {"hybrid": seconds_a_day(hybrid)}
    if isinstance(hybrid.first_guess, SolverStep):
        alone = CoarseSolverConfig(equation=hybrid.first_guess.config.equation)
        found["its solver alone"] = seconds_a_day(CoarseSolver(alone, task, mesh))
    for truncation in (10, 15, 18, 21, 23):
        config_of_solver = CoarseSolverConfig(equation=ShallowWaterConfig(truncation=truncation))
        found[f"T{truncation}"] = seconds_a_day(CoarseSolver(config_of_solver, task, mesh))
    print(json.dumps({"seconds a day and trajectory": found, "trajectories": TRAJECTORIES}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
