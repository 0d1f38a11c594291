"""A small comparison: its YAML and its data, advection on a ring of 32 nodes, four cells a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emulator.foundation.configuration import load
from emulator.physics.ring_equations import APEBENCH
from emulator.physics.simulate import RingConfig, SimulationConfig, simulate_arrays
from emulator.plugins import load_plugins
from inference.comparison.record import Comparison, Seed
from training.comparison.configuration import CompareConfig
from training.comparison.runs import expanded, experiments, runs_of
from training.runs.study import Run

PLUGINS = [
    Path(__file__).parent.parent / "plugins" / name for name in ("circular_convolution.py", "spectral_regression.py")
]
YAML = """
name: tiny
data:
  train: {source: SOURCE/train.npy, trajectories: [0, 8]}
  validation: {source: SOURCE/train.npy, trajectories: [8, 10]}
  test: {source: SOURCE/test.npy}
task: {prognostic: [u]}
rows:
  gnn: {emulator: {kind: gnn, processor: {num_layers: 1, latent_size: 8, hidden_size: 8}}}
  ridge: {emulator: {kind: ridge}}
  convolution: {emulator: {kind: plugin, name: circular convolution, options: {width: 4}}, training: {updates: 5}}
  spectral: {emulator: {kind: plugin, name: spectral regression}}
training: {updates: 4, batch_size: 4, warm_up: 1}
validation: {every: 2, steps: 4, cases: 2, score: nrmse}
seeds: [0, 1]
forecast: {steps: 6, cases: 5}
"""


def write_source(folder: Path) -> Path:
    """train.npy, test.npy and compare.yaml in a folder."""
    for name, seed, trajectories, frames in (("train", 0, 10, 9), ("test", 773, 6, 10)):
        simulation = SimulationConfig(
            APEBENCH["diff_adv"], 1.0, mesh=RingConfig(32), num_trajectories=trajectories, num_frames=frames, seed=seed
        )
        np.save(folder / f"{name}.npy", simulate_arrays(simulation)[:, :, None].astype(np.float32))
    (folder / "compare.yaml").write_text(YAML.replace("SOURCE", str(folder)))
    return folder


def config_in(folder: Path, source: Path, *overrides: str) -> CompareConfig:
    """The comparison of the YAML, with its files under `folder`."""
    load_plugins(PLUGINS)
    places = [f"output={folder / 'runs'}", f"results={folder / 'results'}"]
    return load(CompareConfig, source / "compare.yaml", [*places, *overrides])


def study_runs(config: CompareConfig) -> list[Run]:
    """Return the runs of a comparison without tuning: networks once a seed, closed forms once, persistence always."""
    return runs_of(config, experiments(expanded(config)))


def seeds_of(comparison: Comparison) -> dict[str, Seed]:
    """Return the seeds of all rows by their label, best first."""
    return {seed.label: seed for seed in comparison.ranked_seeds}


def emulator_of(seed: Seed, results: str | Path) -> Path:
    """Return the checkpoint that a run left."""
    assert seed.run is not None
    return Path(results) / seed.run["folder"] / "emulator.safetensors"
