"""A training whose graph is split over processes learns what one process with the whole graph learns."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import default_collate

from emulator.baselines.ridge import RidgeConfig
from emulator.build import load_emulator
from emulator.data.arrays import ArrayFields
from emulator.forcings import ComputedForcings, Forcings
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.protocol import rollout
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh
from tests.processes import in_processes
from tests.training.sphere_world import TASK, SphereData, sphere_experiment, sphere_fields
from training.experiment import ExperimentConfig, TaskConfig, TrainingConfig
from training.metrics_log import read_log
from training.optimisation.gradient_descent import rehearse
from training.optimisation.module import EmulatorModule
from training.optimisation.validation import error_sums
from training.preparation.prepared import prepare, windows_of
from training.preparation.windows import Windows
from training.runs.fit import fit, untrained_on_threads
from training.shards import data_ranks, group_of

WORLDS: dict[str, dict[str, Any]] = {
    "departures": {},
    "states on a mesh of their own": {
        "departures": None,
        "graph": GraphConfig(MultiMeshEdges(), IcosphereMesh(level=2)),
        "node_statistics": True,
    },
    "a loss by wavenumber": {
        "task": TaskConfig(prognostic=("h", "u", "v"), partners={"u": "v", "v": "u"}),
        "training": {"loss": "huber", "spectral_share": 0.5},
    },
    "a ridge regression of each node": {"departures": None, "first_guess": RidgeConfig(radii=(0,))},
}


def learned(config: ExperimentConfig, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """The loss of a batch with its gradients, what a validation adds up, and a forecast, in this process."""
    prepared = prepare(config, SphereData())
    with untrained_on_threads(prepared) as untrained:
        emulator, training = untrained.emulator, config.training
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            emulator.network.decoder[-1].weight.normal_(std=0.1, generator=generator)  # type: ignore[union-attr,index]
        windows, starts, terms = untrained.windows, untrained.starts, untrained.terms
        module = EmulatorModule(emulator, windows, starts, training, config.validation, terms=terms).to(dtype)
        batch = default_collate([windows[1, sample] for sample in (0, 5)])
        batch = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
        with module.emulator.over_all_nodes():
            loss = module.loss(batch)
        loss.backward()
        gradients = [weight.grad for weight in module.emulator.parameters()]
        if dist.is_initialized():
            for gradient in gradients:
                dist.all_reduce(gradient)  # as DDP takes the mean
                gradient /= dist.get_world_size()  # type: ignore[operator]
        cases = default_collate([starts[0], starts[1]])
        cases = {name: value.to(dtype) if value.is_floating_point() else value for name, value in cases.items()}
        with torch.no_grad(), module.averaged.over_all_nodes():
            sums = error_sums(module.averaged, starts, cases, "rmse", module.terms, 2)
        state, forcings = windows_of(prepared)[1].start_of(default_collate([windows_of(prepared)[1][0]]))
        state = replace(state, values=state.values.to(dtype))
        with torch.no_grad():  # of whole states: every process takes them, and gives them
            forecast = [step[0].now.numpy() for step in rollout(emulator, state, forcings, 3)]
        return {
            "forecast": np.stack(forecast),
            "loss": loss.detach().numpy(),
            "gradients": [gradient.numpy() for gradient in gradients],  # type: ignore[union-attr]
            "sums": sums.numpy(),
            "state": {name: value.numpy() for name, value in emulator.state_dict().items()},
            "nodes": batch["values"].shape[-2],
        }


def of_shard(config: ExperimentConfig) -> Callable[[int], dict[str, Any]]:
    def run(rank: int) -> dict[str, Any]:
        os.environ["RANK"] = str(rank)
        return learned(config)

    return run


def split(config: ExperimentConfig, shards: int) -> ExperimentConfig:
    return replace(config, training=replace(config.training, shards=shards, devices=shards))


def assert_close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    largest = np.abs(np.nan_to_num(expected)).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


def assert_the_whole(config: ExperimentConfig, shards: int) -> None:
    whole = learned(config)
    parts = in_processes(shards, of_shard(split(config, shards)))
    assert sum(part["nodes"] for part in parts) == whole["nodes"] == 162
    for part in parts:
        assert part["state"].keys() == whole["state"].keys()
        for name, value in whole["state"].items():
            np.testing.assert_array_equal(part["state"][name], value, name)
        assert_close(part["loss"], whole["loss"])
        assert_close(part["sums"], whole["sums"])
        assert_close(part["forecast"], whole["forecast"])
        for gradient, expected in zip(part["gradients"], whole["gradients"], strict=True):
            assert_close(gradient, expected)


@pytest.mark.parametrize("world", WORLDS)
def test_loss_gradients_and_validation_of_two_shards_are_those_of_the_whole(world: str) -> None:
    assert_the_whole(sphere_experiment(**WORLDS[world]), 2)


@pytest.mark.parametrize("again", ["layers", "both"])
def test_two_shards_compute_activations_again_in_step(again: str) -> None:
    assert_the_whole(sphere_experiment(training={"checkpoint_activations": again, "unroll": 2}), 2)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_so_are_those_of_four_shards(world: str) -> None:
    assert_the_whole(sphere_experiment(**WORLDS[world]), 4)


def test_windows_of_a_shard_are_rows_of_the_whole_and_read_few_times_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    fields = sphere_fields(40)

    def counted(times: Any, *others: Any) -> Any:
        read.append(len(times))
        return ArrayFields._read(fields, times, *others)

    monkeypatch.setattr(fields, "_read", counted)
    task = TASK.build(fields)
    whole = Windows(fields, task, 2, Forcings(ComputedForcings(fields.mesh)), noise="random_amplitude")
    nodes = np.array([7, 3, 150])
    some = whole.of_nodes(nodes)
    assert isinstance(some.fields, ArrayFields) and some.fields.values.shape == (40, 1, 3, 6)
    assert max(read) <= 16
    one, other = whole[2, 5], some[2, 5]
    for name in ("values", "forcing", "noise"):
        torch.testing.assert_close(other[name], one[name][..., nodes, :], rtol=0, atol=0, equal_nan=True)
    assert other["valid_time"] == one["valid_time"]


def test_processes_of_one_graph_have_adjacent_ranks_and_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [data_ranks(rank, 6, 2) for rank in range(6)] == [(0, 3), (0, 3), (1, 3), (1, 3), (2, 3), (2, 3)]
    training = TrainingConfig(devices=2, num_nodes=2, shards=2)
    for name, value, number in (("LOCAL_RANK", "1", 1), ("NODE_RANK", "1", 1), ("RANK", "2", 0), ("RANK", "", 1)):
        monkeypatch.setenv(name, value)
        group = group_of(training)
        assert group is not None and group.shard.number == number
    assert group_of(TrainingConfig(devices=2)) is None


def fitted_in(ranks: int, config: ExperimentConfig, **environment: str) -> None:
    """Fit an experiment in processes that torchrun would have started."""

    def run(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0",
            "TORCHELASTIC_RUN_ID": "test", **environment,
        }  # fmt: skip
        if stop_after := environment.get("stop_after"):
            ended = EmulatorModule.on_train_batch_end

            def end(module: EmulatorModule, *arguments: Any) -> None:
                if module.global_step == int(stop_after):
                    os.kill(os.getpid(), signal.SIGTERM)
                ended(module, *arguments)

            EmulatorModule.on_train_batch_end = end  # type: ignore[method-assign,assignment]
        fit(config, progress=False, resume="auto")

    in_processes(ranks, run)


def unconserving(folder: Path, name: str) -> ExperimentConfig:
    """The experiment without conserved variables, whose biases have a gradient of rounding alone that Adam enlarges."""
    return sphere_experiment(folder, name, task=replace(TASK, conserved=()))


def assert_same_run(one: Path, two: Path) -> None:
    """The same scores and weights, to the rounding of single precision."""
    scores = [[row["validation_score"] for row in read_log(path / "metrics.csv")] for path in (one, two)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4)
    first, second = (torch.load(path / "last.ckpt", weights_only=True)["state_dict"] for path in (one, two))
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=2e-5, equal_nan=True)


def test_a_run_over_two_shards_leaves_the_files_of_the_whole(tmp_path: Path) -> None:
    fit(unconserving(tmp_path, "whole"), progress=False)
    fitted_in(2, split(unconserving(tmp_path, "split"), 2))
    assert_same_run(tmp_path / "whole", tmp_path / "split")
    assert {path.name for path in (tmp_path / "split").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }
    found, expected = (load_emulator(tmp_path / name) for name in ("split", "whole"))
    assert found.emulator.network.graphs.processor.edge_index.equal(
        expected.emulator.network.graphs.processor.edge_index
    )


@pytest.mark.slow
def test_two_groups_of_two_shards_each_take_the_updates_of_one_process(tmp_path: Path) -> None:
    fit(unconserving(tmp_path, "whole"), progress=False)
    config = split(unconserving(tmp_path, "split"), 2)
    fitted_in(4, replace(config, training=replace(config.training, devices=4, batch_size=1)))
    assert_same_run(tmp_path / "whole", tmp_path / "split")


@pytest.mark.slow
def test_a_run_of_three_shards_goes_on_in_one_process(tmp_path: Path) -> None:
    config = unconserving(tmp_path, "whole")
    fit(config, progress=False)
    three = replace(split(config, 3), name="split")
    with pytest.raises(AssertionError, match="Stopped"):
        fitted_in(3, three, stop_after="4")
    fit(replace(config, name="split"), progress=False, resume="auto")
    assert_same_run(tmp_path / "whole", tmp_path / "split")


def test_processes_of_one_graph_count_once_in_an_update() -> None:
    shares = TrainingConfig(devices=2, num_nodes=3, shards=3, accumulate=2, batch_size=None, global_batch_size=12)
    assert (shares.graphs, shares.process_batch, shares.samples_per_update) == (2, 3, 12)
    assert shares.graphs_in_words == "2 groups of 3 processes"
    with pytest.raises(MeshcastError, match=r"12 does not divide among 8 batches: training\.devices of 4 x "):
        TrainingConfig(devices=4, accumulate=2, batch_size=None, global_batch_size=12)
    with pytest.raises(MeshcastError, match=r"training\.shards=4 processes share a graph, but .* are 6"):
        TrainingConfig(devices=2, num_nodes=3, shards=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"mirror": ("v",)}}, r"training\.mirror"),
        ({"training": {"minutes": 1.0, "rotation": True}}, r"training\.rotation, training\.minutes"),
        ({"training": {"strategy": "fsdp"}}, r"training\.strategy=fsdp"),
        ({"departures": None, "first_guess": RidgeConfig(radii=(0,), penalties=(1.0,)), "conserving": "flux"}, "flux"),
    ],
    ids=["mirror", "several", "strategy", "flux"],
)
def test_what_needs_all_nodes_in_one_process_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        learned(split(sphere_experiment(**changes), 2))


def test_updates_of_a_split_graph_are_not_timed_by_one_process() -> None:
    config = split(sphere_experiment(), 2)
    with (
        untrained_on_threads(prepare(config, SphereData())) as untrained,
        pytest.raises(MeshcastError, match=r"split over 2 processes cannot be timed.*training\.shards=1"),
    ):
        rehearse(untrained, 2)


def test_other_networks_and_other_numbers_of_processes_are_refused() -> None:
    config = split(sphere_experiment(), 2)
    with pytest.raises(MeshcastError, match=r"Only a graph network \(kind: gnn\).*of kind graph_convolution"):
        learned(replace(config, emulator=GraphConvolutionConfig()))
    with pytest.raises(MeshcastError, match=r"training\.shards=3.*are 4"):
        TrainingConfig(devices=4, shards=3)
