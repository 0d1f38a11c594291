"""Emulators of planetswe beside its solvers of lower truncation, for `break_even.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from break_even_solvers import Errors, Found, Rivals
from planetswe_truth import NAMES, GridTruth, NodeView, solver_of, sphere_simulation, vrmse
from torch import Tensor

from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.constants import DAY
from emulator.foundation.low_precision import Precision
from emulator.foundation.time_step import TimeStep
from emulator.physics.shallow_water import ShallowWater
from inference.forecasts.forecast import forecast

GRID = Path("data/planetswe-grid.zarr")
STARTS = 4  # of each trajectory, evenly over the data
SAFE_STEP = 1800.0  # [s] with which solvers of any truncation are stable


class PlanetRivals(Rivals):
    """planetswe. The error is VRMSE, the mean of h, u and v on the truth's grid; a unit is a day of one trajectory.

    A solver's diffusion is the better of two: falling by e at its own truncation as fast as the truth's does at its, or
    the truth's own viscosity.
    """

    unit = "day"
    sizes = (21, 28, 31, 36, 42, 48, 53, 63)
    steps = (10_800.0, 7_200.0, 5_400.0, 3_600.0, 2_700.0, 1_800.0)

    def __init__(self, simulation: str, leads: Sequence[int], runs: Sequence[Path]) -> None:
        super().__init__(leads, runs)
        self.grid = GridTruth(sphere_simulation(simulation), GRID)
        rows, last = self.grid.fields.ensemble_size, max(leads) * 24
        frames = np.linspace(0, len(self.grid.fields.times) - 1 - last, STARTS).astype(int)
        self.frame, self.row = (each.ravel() for each in np.meshgrid(frames, np.arange(rows), indexing="ij"))
        self.time = self.grid.fields.times[self.frame]
        self.begin = self.grid.coefficients(self.grid.grid(self.frame, self.row))
        self.truth = np.stack([self.grid.grid(self.frame + 24 * lead, self.row) for lead in leads], axis=1)
        self._best_diffusion = cache(self._chosen_diffusion)

    def solver_label(self, size: int) -> str:
        return f"T{size}"

    def solver(self, size: int, step: float) -> Found:
        equation = solver_of(self.grid, size, step, self._best_diffusion(size))
        start = self.grid.solver_state(self.begin, equation)
        run = partial(equation.advance, start, float(DAY), self.time)
        return self._solved(equation, start), run, float(self.cases)

    def _chosen_diffusion(self, size: int) -> float:
        """Return the e-folding time [s] at the truncation with which a solver errs less, its step safe."""
        given = self.grid.simulation.equation
        assert given.diffusion is not None
        fine, order = given.truncation, given.diffusion.order // 2
        same = given.diffusion.e_folding * (fine * (fine + 1) / (size * (size + 1))) ** order
        errors = {}
        for e_folding in (given.diffusion.e_folding, same):
            equation = solver_of(self.grid, size, SAFE_STEP, e_folding)
            found = self._solved(equation, self.grid.solver_state(self.begin, equation))
            errors[e_folding] = np.mean(list(found.values()))
        return min(errors, key=lambda e_folding: np.nan_to_num(errors[e_folding], nan=np.inf))

    def _solved(self, equation: ShallowWater, state: Tensor) -> Errors:
        found: Errors = {}
        for day in range(max(self.leads)):
            state = equation.advance(state, float(DAY), self.time + day * int(DAY))
            if not torch.isfinite(state.abs()).all():
                return dict.fromkeys(map(str, self.leads), float("nan"))
            if day + 1 in self.leads:
                found[str(day + 1)] = self._error(day + 1, self.grid.of_solver(state, equation))
        return found

    def _error(self, lead: int, coefficients: Tensor) -> float:
        there = self.truth[:, self.leads.index(lead)]
        return float(vrmse(self.grid.on_grid(coefficients), there).mean())

    def emulator(self, number: int, precision: Precision) -> Found:
        trained, last = self.trained(number), max(self.leads)
        emulator = trained.emulator
        view = NodeView(self.grid, emulator.mesh)
        initial = view.initial(self.begin, self.time, self.row, emulator.task)
        steps = {lead: emulator.task.time_step.steps_in(f"{lead}d") for lead in self.leads}
        forcings = Forcings(ComputedForcings(emulator.mesh))
        run = partial(forecast, trained, initial, forcings, steps[last], precision=precision)
        values = run()[0].values[:, 0][..., [emulator.task.prognostic.index(name) for name in NAMES]]
        errors = {str(lead): self._error(lead, view.coefficients(values[:, steps[lead] - 1])) for lead in self.leads}
        return errors, run, float(last * self.cases)

    def seconds_for_data(self) -> float:
        """Return the time of as many days as training and validation hold, measured over one day of all test cases."""
        config, simulation = self.config(0), self.grid.simulation
        parts = [part.trajectories for part in (config.data.train, config.data.validation) if part is not None]
        trajectories = sum(last - first for first, last in (part for part in parts if part is not None))
        frames = simulation.num_frames - 1 + simulation.warm_up
        days = trajectories * frames * TimeStep.parse(simulation.time_step).count / DAY
        equation = ShallowWater(simulation.equation)
        start = self.grid.solver_state(self.begin, equation)
        started = process_time()
        equation.advance(start, float(DAY), self.time)
        return (process_time() - started) / self.cases * days
