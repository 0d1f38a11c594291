"""The climate of a long forecast on a ring beside the truth's: spectrum and distribution, as JSON.

    python benchmarks/ring_climate.py diff_ks_cons runs/ring-protocol/diff_ks_cons/runs/gnn-seed0-... > climate.json

A network of `ring_protocol.py` and the solver start from the test part's first states and take as many steps; the first
are left out, until neither remembers its start. Compared are the mean power of each wavenumber and the quantiles of all
values, as differences in per cent: of the power, and of the truth's standard deviation. The wavenumbers are those that
together hold 99.9 % of the variance, beside them every one with a millionth of the strongest power. Trajectories are
independent, so that 95 % of what sampling alone does comes from drawing them again with replacement: of truth from
truth, whose own difference from itself shows what could be told apart at all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ring_protocol
import torch
from numpy.typing import NDArray

from emulator.build import TrainedEmulator, load_emulator
from emulator.data.arrays import open_arrays
from emulator.physics.ring_equations import APEBENCH
from emulator.physics.ring_solver import RingSolver
from graphs.atomic_file import write_text
from graphs.meshes.ring import ring
from inference.forecasts.forecast import GuardedRollout
from inference.forecasts.guard import Guard

Array = NDArray[np.float64]
HELD, FAINTEST = 0.999, 1e-6  # of the variance, and of the strongest wavenumber's power
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS, RESAMPLES = 400, 2_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=sorted(APEBENCH))
    parser.add_argument("run", type=Path, help="folder of a run, or its emulator.safetensors")
    parser.add_argument("--folder", type=Path, default=Path("runs/ring-protocol"), help="data of the protocol")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--spin-up", type=int, default=500, help="steps left out")
    parser.add_argument("--every", type=int, default=5, help="steps from one that counts to the next")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)

    ring_protocol.make_arrays(options.folder / options.task, options.task)
    test = open_arrays(options.folder / options.task / "test.npy")
    starts = np.asarray(test.read(slice(0, 1), ("u",))[0, :, :, 0], dtype=np.float64)  # [trajectory, node]
    edges = np.linspace(-1.0, 1.0, BINS + 1) * 2.5 * np.abs(starts).max()
    kept = range(options.spin_up, options.steps, options.every)
    truth = climate(solved(options.task, starts, options.steps), kept, edges)
    rollout = free_rollout(load_emulator(options.run), options.folder / options.task / "test.npy")
    forecast = climate((values[:, 0, :, 0] for values in rollout.steps(options.steps)), kept, edges)
    report = {
        "task": options.task,
        "starts": len(starts),
        "steps": options.steps,
        "first_step": options.spin_up,
        "every": options.every,
        "stopped_by_guard": [{"case": int(stop.case), "step": stop.step} for stop in rollout.stops],
        **compared(truth, forecast, rollout.alive[:, 0], edges),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


@dataclass(frozen=True)
class Climate:
    """Means over the steps of each trajectory: power [trajectory, wavenumber], shares of values [trajectory, bin]."""

    power: Array
    share: Array


def climate(fields: Iterable[NDArray[np.floating[Any]]], kept: Sequence[int], edges: Array) -> Climate:
    """Return the climate of fields [trajectory, node], step after step."""
    chosen, count = set(kept), 0
    power, share = np.zeros(1), np.zeros(1)
    for step, values in enumerate(fields):
        if step not in chosen:
            continue
        nodes = values.shape[-1]
        power = power + np.abs(np.fft.rfft(values.astype(np.float64)) / nodes) ** 2
        place = np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
        share = share + np.stack([np.bincount(row, minlength=BINS) for row in place]) / nodes
        count += 1
    return Climate(power / count, share / count)


def solved(task: str, u: Array, steps: int) -> Iterable[Array]:
    """Yield the truth [trajectory, node] after each step."""
    solver = RingSolver(APEBENCH[task], ring(u.shape[-1]), 1.0)
    now = torch.from_numpy(u)
    for _ in range(steps):
        now = solver.advance(now)
        yield now.numpy()


def free_rollout(trained: TrainedEmulator, path: Path) -> GuardedRollout:
    """Return the guarded rollout from the first state of every test trajectory."""
    initial, forcings = ring_protocol.first_states(trained.emulator, open_arrays(path))
    guard = Guard(trained.statistics, trained.emulator.mesh)
    return GuardedRollout(trained.emulator, initial.state, forcings, guard)


def compared(truth: Climate, forecast: Climate, alive: NDArray[np.bool_], edges: Array) -> dict[str, Any]:
    """Return differences in per cent, and the half widths of 95 % of what sampling does to the truth and to both."""
    if not alive.any():
        return {"spectrum": None, "distribution": None}
    forecast = Climate(forecast.power[alive], forecast.share[alive])
    mean = truth.power.mean(axis=0)
    strongest_first = np.argsort(mean)[::-1]
    needed = 1 + int(np.searchsorted(np.cumsum(mean[strongest_first]) / mean.sum(), HELD))
    holding = np.sort(strongest_first[:needed])
    seen = np.flatnonzero(mean > FAINTEST * mean.max())
    rng = np.random.default_rng(0)
    rows = {"truth": len(truth.power), "forecast": len(forecast.power)}
    drawn = {name: rng.integers(0, size, (RESAMPLES, size)) for name, size in rows.items()}

    def differences(statistic: Any, scale: Array | float) -> dict[str, list[float]]:
        """Return the difference, and the sampling of the truth alone and of the difference."""
        base = statistic(truth)
        resampled = {
            name: np.stack([statistic(Climate(part.power[index], part.share[index])) for index in drawn[name]])
            for name, part in (("truth", truth), ("forecast", forecast))
        }
        return {
            "per_cent": _listed(100 * (statistic(forecast) - base) / scale),
            "sampling_of_the_truth": _listed(196 * resampled["truth"].std(axis=0) / scale),
            "sampling_of_the_difference": _listed(
                196 * np.hypot(resampled["truth"].std(axis=0), resampled["forecast"].std(axis=0)) / scale
            ),
        }

    middle = (edges[1:] + edges[:-1]) / 2
    shares = truth.share.mean(axis=0)
    std = float(np.sqrt(shares @ middle**2 - (shares @ middle) ** 2))
    histograms = [part.share.mean(axis=0) for part in (truth, forecast)]
    spectrum = differences(lambda part: part.power.mean(axis=0)[seen], mean[seen])
    worst = max(abs(value) for k, value in zip(seen, spectrum["per_cent"], strict=True) if k in holding)
    quantiles = differences(lambda part: _quantiles(part.share.mean(axis=0), edges), std)
    return {
        "variance_per_cent": number(100 * (forecast.power[:, 1:].mean(0).sum() / mean[1:].sum() - 1)),
        "spectrum": {
            "worst_of_those_that_hold_99.9_per_cent": number(worst),
            "holding": [int(k) for k in holding],
            "wavenumber": [int(k) for k in seen],
            **spectrum,
        },
        "distribution": {
            "worst": number(max(map(abs, quantiles["per_cent"]))),
            "total_variation_per_cent": number(50 * float(np.abs(histograms[0] - histograms[1]).sum())),
            "quantile": list(QUANTILES),
            **quantiles,
        },
    }


def _quantiles(share: Array, edges: Array) -> Array:
    return np.interp(QUANTILES, np.concatenate([[0.0], np.cumsum(share)]), edges)


def _listed(values: Array) -> list[float]:
    return [number(value) for value in values]


def number(value: float) -> float:
    """Return the digits that mean something."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
