"""What `break_even.py` compares: one equation's solvers and emulators, on the same test trajectories."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import ring_protocol
import torch
from numpy.typing import NDArray
from planetswe_truth import sphere_simulation
from shallow_water import DAY
from sphere_protocol import NAMES, forecast_and_truth, squared_errors, variances
from torch import Tensor

from emulator.build import TrainedEmulator, load_emulator
from emulator.data.arrays import open_arrays
from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import spread_starts, states_at
from emulator.foundation.configuration import load
from emulator.foundation.low_precision import Precision
from emulator.foundation.time_step import TimeStep
from emulator.physics.ring_equations import APEBENCH, ring_equation
from emulator.physics.ring_solver import Etdrk4, SpectralRing
from emulator.physics.shallow_water import ShallowWater
from emulator.physics.sphere_simulation import sphere_mesh
from emulator.physics.sphere_solver import sampled
from emulator.physics.sphere_states import sphere_states
from graphs.harmonics.basis import truncated
from graphs.harmonics.nodes import Evaluation
from inference.forecasts.forecast import forecast
from training.experiment import ExperimentConfig

Errors = dict[str, float]
Found = tuple[Errors, Callable[[], Any], float]  # errors by lead, the computing to be timed, and how much it simulates
SAME = 2e-3  # of a standard deviation, by which data written in float32 may differ from a simulation made again


def called(result: dict[str, Any]) -> str:
    """Return the label of a run, or that it is a hybrid, which corrects a solver."""
    guess = result["config"]["emulator"].get("first_guess") or {}
    return "hybrid" if guess.get("kind") == "solver" else str(result["label"])


class Rivals(ABC):
    """Solvers and emulators of one equation.

    truth: of the test trajectories, the first axis theirs.
    unit: of leads, and of what a cost is for. sizes: of the solvers, where none are named. steps: that are tried.
    """

    unit: str
    sizes: tuple[int, ...]
    steps: tuple[float, ...]
    truth: NDArray[np.float64]

    def __init__(self, leads: Sequence[int], runs: Sequence[Path]) -> None:
        self.leads = list(leads)
        self.results = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in runs]
        self.results = [(path, result) for path, result in self.results if is_network(result)]
        if not self.results:
            raise SystemExit("None of the runs is a network's that has been trained. Name files of a results folder.")

    @property
    def labels(self) -> list[str]:
        """Return what the runs are called, with their time step where runs of one name differ in it."""
        named = [(called(result), result["config"]["task"]["time_step"]) for _, result in self.results]
        differ = {name for name, _ in named if len({step for other, step in named if other == name}) > 1}
        return [
            f"{name}{f' of {step}' if name in differ else ''}, seed {result['seed']}"
            for (name, step), (_, result) in zip(named, self.results, strict=True)
        ]

    def trained(self, number: int) -> TrainedEmulator:
        path, result = self.results[number]
        return load_emulator(path.parent / result["folder"] / "emulator.safetensors")

    def config(self, number: int) -> ExperimentConfig:
        return load(ExperimentConfig, self.results[number][1]["config"])

    def training_seconds(self, number: int) -> float:
        result = self.results[number][1]
        return float(result.get("processor_seconds") or result["seconds"])  # by the clock, of an interrupted run

    def about(self, number: int) -> dict[str, Any]:
        result = self.results[number][1]
        return {"time_step": result["config"]["task"]["time_step"], "parameters": result["parameters"]["trainable"]}

    @property
    def cases(self) -> int:
        """Return the number of test trajectories."""
        return len(self.truth)

    @abstractmethod
    def solver_label(self, size: int) -> str:
        """Return what a solver is called."""

    @abstractmethod
    def solver(self, size: int, step: float) -> Found:
        """Return a solver's errors with a step; not finite where it is unstable."""

    @abstractmethod
    def emulator(self, number: int, precision: Precision) -> Found:
        """Return an emulator's errors in a precision."""

    @abstractmethod
    def seconds_for_data(self) -> float:
        """Return the processor seconds in which the simulation makes the training and validation data."""


def is_network(result: Mapping[str, Any]) -> bool:
    """Return whether a result is that of a network that has been trained."""
    return result["status"] == "done" and result["update"] is not None


class SphereRivals(Rivals):
    """Shallow water on the sphere. The error is `sphere_protocol`'s; a unit is a day of one trajectory."""

    unit = "day"
    sizes = (10, 15, 18, 21, 24, 28, 31, 36, 42)
    steps = (21_600.0, 14_400.0, 10_800.0, 7_200.0, 5_400.0, 3_600.0, 2_400.0, 1_200.0)

    def __init__(self, simulation: str, leads: Sequence[int], runs: Sequence[Path]) -> None:
        super().__init__(leads, runs)
        found = self.simulation = sphere_simulation(simulation)
        self.mesh = sphere_mesh(found.mesh)
        config = self.config(0)
        assert config.data.test is not None, "the experiment names no test part"
        self.test, self.variance = config.data.test.open(), variances(config.data.train.open())
        trajectories = config.data.test.trajectories
        if trajectories is None:
            raise SystemExit("The experiment's test part must name its trajectories of the simulation.")
        fine = ShallowWater(found.equation)
        starts = sphere_states(found.initial_states, fine, found.num_trajectories, found.seed)
        warm_up = float(found.warm_up * TimeStep.parse(found.time_step).count)
        self.begin = fine.advance(starts[..., slice(*trajectories)], warm_up)
        self.truth = self._days(fine, self.begin)[0]
        frames = np.searchsorted(self.test.times, self.test.times[0] + np.array(self.leads) * DAY)
        written = self.test.read(frames, NAMES).swapaxes(0, 1).astype(np.float64)
        if written.shape != self.truth.shape or self._error(written).max() > SAME:
            raise SystemExit(f"{self.test.source} does not hold what {simulation} simulates. Make it again.")

    def solver_label(self, size: int) -> str:
        return f"T{size}"

    def solver(self, size: int, step: float) -> Found:
        coarse = replace(self.simulation.equation, truncation=size, longest_step=step, precision="float32")
        equation = ShallowWater(coarse)
        start = torch.stack([truncated(field, size) for field in self.begin]).to(torch.complex64)
        found, finite = self._days(equation, start)
        errors = self._by_lead(found) if finite else dict.fromkeys(map(str, self.leads), float("nan"))
        return errors, partial(equation.advance, start, float(DAY)), float(self.cases)

    def _days(self, equation: ShallowWater, state: Tensor) -> tuple[NDArray[np.float64], bool]:
        """Return h, u and v [case, lead, node, 3], and whether all of them are finite."""
        nodes, days = Evaluation(self.mesh, equation.config.truncation), []
        for day in range(1, max(self.leads) + 1):
            state = equation.advance(state, float(DAY))
            if not torch.isfinite(state.abs()).all():
                return np.empty(0), False
            if day in self.leads:
                days.append(sampled(state.to(torch.complex128), nodes, equation).double().numpy())
        return np.stack(days, axis=1), True

    def _error(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(squared_errors(found, self.truth, self.variance, self.mesh.areas).mean(axis=0)))

    def _by_lead(self, found: NDArray[np.float64]) -> Errors:
        return {str(lead): float(error) for lead, error in zip(self.leads, self._error(found), strict=True)}

    def emulator(self, number: int, precision: Precision) -> Found:
        trained = self.trained(number)
        run = partial(forecast_and_truth, trained, self.test, self.leads, precision)
        return self._by_lead(run()[0]), run, float(self.cases * max(self.leads))

    def seconds_for_data(self) -> float:
        """Return the time of as many days as training and validation hold, measured over one day of all test cases."""
        config, equation = self.config(0), ShallowWater(self.simulation.equation)
        parts = [part.trajectories for part in (config.data.train, config.data.validation) if part is not None]
        trajectories = sum(last - first for first, last in (part for part in parts if part is not None))
        frames = self.simulation.num_frames - 1 + self.simulation.warm_up
        days = trajectories * frames * TimeStep.parse(self.simulation.time_step).count / DAY
        started = process_time()
        equation.advance(self.begin, float(DAY))
        return (process_time() - started) / self.cases * days


class RingRivals(Rivals):
    """An equation on the ring, by APEBench's protocol. The error is its nRMSE; a unit is a step of one trajectory."""

    unit = "step"
    sizes = (32, 40, 48, 56, 64, 80, 96, 128, 160)
    steps = (10.0, 5.0, 2.0, 1.0)

    def __init__(self, task: str, leads: Sequence[int], runs: Sequence[Path]) -> None:
        super().__init__(leads, runs)
        if task not in APEBENCH:
            raise SystemExit(f"The task must be one of {', '.join(sorted(APEBENCH))}, but is {task!r}.")
        self.steps = tuple(step for step in self.steps if all(lead % step == 0 for lead in self.leads))
        self.equation = ring_equation(APEBENCH[task], ring_protocol.NUM_NODES, 1.0, 1.0)
        self.warm_up = ring_protocol.WARM_UP.get(task, 0)
        folder = Path(self.config(0).data.train.source).parent
        ring_protocol.make_arrays(folder, task)
        self.test = open_arrays(folder / "test.npy")
        self.truth = self.test.read(slice(0, None), ("u",))[:, :, :, 0].swapaxes(0, 1).astype(np.float64)

    def solver_label(self, size: int) -> str:
        return f"{size} nodes"

    def solver(self, size: int, step: float) -> Found:
        spectral = SpectralRing(self.equation, size, 1.0)
        scheme = Etdrk4(spectral.linear, step)
        for part in (spectral, scheme):
            for name, value in vars(part).items():
                if torch.is_tensor(value) and value.dtype in (torch.complex128, torch.float64):
                    setattr(part, name, value.to(torch.complex64 if value.is_complex() else torch.float32))
        fine = ring_protocol.NUM_NODES
        start = torch.fft.rfft(torch.from_numpy(self.truth[:, 0]))[:, : size // 2 + 1] * (size / fine)
        modes = start.to(torch.complex64)

        def advanced(state: Tensor, count: int) -> Tensor:
            for _ in range(count):
                state = scheme.step(state, spectral.nonlinear)
            return state

        found, done, state = [], 0, modes
        for lead in self.leads:
            state, done = advanced(state, int((lead - done) / step)), lead
            found.append(torch.fft.irfft(state.to(torch.complex128) * (fine / size), n=fine).numpy())
        duration = float(max(self.leads))
        return self._by_lead(found), partial(advanced, modes, int(duration / step)), duration * self.cases

    def _by_lead(self, found: Sequence[NDArray[np.float64]]) -> Errors:
        errors = {}
        for lead, values in zip(self.leads, found, strict=True):
            truth = self.truth[:, lead]
            ratio = np.linalg.norm(values - truth, axis=1) / np.linalg.norm(truth, axis=1)
            errors[str(lead)] = float(ratio.mean())
        return errors

    def emulator(self, number: int, precision: Precision) -> Found:
        trained, last = self.trained(number), max(self.leads)
        task, mesh = trained.emulator.task, trained.emulator.mesh
        init_time, trajectory = spread_starts(self.test, task, last)
        initial = states_at(self.test, task, init_time, trajectory)
        run = partial(forecast, trained, initial, forcings_of(task, mesh, self.test), last, precision=precision)
        values = run()[0].values[:, 0, :, :, 0].astype(np.float64)
        return self._by_lead([values[:, lead - 1] for lead in self.leads]), run, float(last * self.cases)

    def seconds_for_data(self) -> float:
        """Return the time of the protocol's training trajectories, warm-up included, by its own solver in float64."""
        _, trajectories, frames = ring_protocol.ARRAYS["train"]
        spectral = SpectralRing(self.equation, ring_protocol.NUM_NODES, 1.0)
        scheme, steps = Etdrk4(spectral.linear, 1.0), frames - 1 + self.warm_up
        state = torch.fft.rfft(torch.from_numpy(self.truth[:, 0]))
        started = process_time()
        for _ in range(100):
            state = scheme.step(state, spectral.nonlinear)
        return (process_time() - started) / 100 / self.cases * steps * trajectories
