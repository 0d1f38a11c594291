"""Conservation: exact after a thousand steps of any network, within bounds, beside masked nodes, region by region."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emulator.build import TrainedEmulator, build_network, load_emulator, save_emulator
from emulator.features.conservation import Conservation
from emulator.forcings import Forcings
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.layers.flux_decoder import finest_edges
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from graphs.edges.build import build_graphs, default_config
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from inference.scores.conservation import corrections

HOUR = TimeStep.parse("1h")
MESH = icosphere(2)
DEPTH = Variable("h", "prognostic", "m", conserved=True)
TRACER = Variable("q", "prognostic", "kg kg-1", bounds=(0.0, None), conserved=True)
CLOUD = Variable("c", "prognostic", "1", bounds=(0.0, 1.0), conserved=True)
WIND = Variable("u", "prognostic", "m s-1")
TASK = Task((DEPTH, WIND, TRACER, CLOUD), HOUR)
MEAN, STD = torch.tensor([10_000.0, 0.0, 0.01, 0.5]), torch.tensor([300.0, 20.0, 0.01, 0.3])


def network(conserving: str = "fixer", task: Task = TASK, mesh: Mesh = MESH, seed: int = 0) -> NeuralEmulator:
    """An untrained network of random weights, its decoder no longer zero, whose steps change fields by a tenth."""
    torch.manual_seed(seed)
    processor = ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8)
    emulator = build_network(GNNConfig(processor=processor, conserving=conserving), task, mesh, 0)  # type: ignore[arg-type]
    columns = [TASK.prognostic.index(name) for name in task.prognostic]
    emulator.inputs.mean.copy_(MEAN[columns])
    emulator.inputs.std.copy_(STD[columns])
    emulator.correction_std.fill_(0.1)
    torch.nn.init.normal_(emulator.network.decoder[-1].weight, std=0.3)
    torch.nn.init.constant_(emulator.network.decoder[-1].bias, 0.2)  # a drift upwards
    if emulator.network.fluxes is not None:
        torch.nn.init.normal_(emulator.network.fluxes.out.weight, std=0.3)
    return emulator.eval().requires_grad_(False)


def start(task: Task = TASK, mesh: Mesh = MESH, batch: int = 2) -> State:
    generator = torch.Generator().manual_seed(0)
    columns = [TASK.prognostic.index(name) for name in task.prognostic]
    values = MEAN + STD * torch.randn(batch, 1, 1, mesh.num_nodes, len(MEAN), generator=generator)
    values[..., 2] = values[..., 2].clamp_min(0.0)
    values[..., 3] = values[..., 3].clamp(0.0, 1.0)
    return State(values[..., columns], np.zeros(batch, dtype=np.int64))


def area_means(state: State, mesh: Mesh = MESH) -> Tensor:
    """[batch, member, prognostic] in float64, over the nodes that have values."""
    values, areas = state.now.double(), torch.from_numpy(mesh.areas)[:, None]
    there = ~torch.isnan(values)
    return torch.where(there, values * areas, 0.0).sum(-2) / (there * areas).sum(-2)


def rolled_out(emulator: NeuralEmulator, state: State, steps: int) -> State:
    *_, (last, _) = rollout(emulator, state, Forcings(), steps)
    return last


CONSERVED = [0, 2, 3]


@pytest.mark.parametrize("conserving", ["fixer", "flux"])
def test_a_thousand_steps_of_an_untrained_network_keep_every_mean(conserving: str) -> None:
    state = start()
    emulator = network(conserving)
    # What it sees saturates: it is conservation that is tested, and a random network blows up sooner or later.
    emulator.network.encoder.register_forward_hook(lambda module, given, latent: latent.tanh())
    later = rolled_out(emulator, state, 1000)
    assert torch.isfinite(later.values).all() and later.values.dtype == torch.float32
    before, after = area_means(state), area_means(later)
    drift = (after / before - 1).abs()[..., CONSERVED]
    assert drift.max() < 1e-7  # a tenth of what is asked
    moved = (later.now[..., 0] - state.now[..., 0]).std()
    assert 30.0 < moved < 1e5  # it did move, and did not blow up
    assert later.now[..., 2].min() >= 0.0 and later.now[..., 3].min() >= 0.0 and later.now[..., 3].max() <= 1.0
    assert (after / before - 1).abs()[..., 1].min() > 1e-3  # the wind is not declared conserved


def test_without_the_declaration_the_mean_drifts() -> None:
    """So that the test above could fail."""
    loose = Task(tuple(replace(variable, conserved=False) for variable in TASK.variables), HOUR)
    state = start()
    later = rolled_out(network(task=loose), state, 20)
    assert (area_means(later) / area_means(state) - 1).abs()[..., 0].min() > 1e-3


def test_n_steps_then_m_are_n_plus_m() -> None:
    emulator, state = network(), start()
    assert torch.equal(
        rolled_out(emulator, rolled_out(emulator, state, 3), 4).values, rolled_out(emulator, state, 7).values
    )


def test_rounding_is_repaired_by_last_digits_alone() -> None:
    conservation = Conservation(Task((DEPTH,), HOUR), MESH)
    before = start(Task((DEPTH,), HOUR)).now
    change = torch.randn(before.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    areas = torch.from_numpy(MESH.areas)[:, None]
    exact = before.double() + change - (areas * change).sum(-2, keepdim=True)
    kept = conservation(before, before.double() + change)
    assert kept.dtype == torch.float32
    assert (kept.double() - exact).abs().max() < 2 * 2.0**-10  # 10 km is held to about a millimetre
    left = (areas * (kept.double() - before.double())).sum(-2).abs()
    rounded = (areas * (exact.float().double() - before.double())).sum(-2).abs()
    assert left.max() <= 0.5 * 2.0**-10 * MESH.areas.max() < 0.1 * rounded.max()


@pytest.mark.parametrize("shift", [0.3, -0.3])
def test_a_bounded_variable_is_scaled_and_its_zeros_stay(shift: float) -> None:
    """By hand: four nodes, q >= 0, the sum of the old values is 4 and of the new, clipped, 5."""
    mesh = latlon([45.0, -45.0], [0.0, 180.0])
    conservation = Conservation(Task((TRACER,), HOUR), mesh)
    before = torch.tensor([1.0, 1.0, 2.0, 0.0])[None, None, :, None]
    after = torch.tensor([0.0, 2.0, 3.0, -1.0])[None, None, :, None]
    kept = conservation(before, after)
    torch.testing.assert_close(kept.flatten(), torch.tensor([0.0, 1.6, 2.4, 0.0]))
    assert conservation.correction is not None
    torch.testing.assert_close(conservation.correction, torch.full((1, 1, 1), 0.25, dtype=torch.float64))
    cloud = Conservation(Task((CLOUD,), HOUR), mesh)
    before = torch.tensor([0.9, 0.5, 0.6, 0.0])[None, None, :, None]
    kept = cloud(before, before + shift)
    assert kept.min() >= 0.0 and kept.max() <= 1.0
    assert float(kept.sum()) == pytest.approx(2.0, abs=1e-6)


def test_a_tracer_that_vanished_comes_back_evenly() -> None:
    conservation = Conservation(Task((TRACER,), HOUR), MESH)
    before = start(Task((TRACER,), HOUR)).now
    kept = conservation(before, torch.full_like(before, -1.0))
    torch.testing.assert_close(kept.std(-2), torch.zeros(2, 1, 1), atol=1e-8, rtol=0)
    torch.testing.assert_close(
        kept.double().mean(-2), (before.double() * torch.from_numpy(MESH.areas)[:, None]).sum(-2)
    )


def test_masked_nodes_stay_masked_and_count_nowhere() -> None:
    state = start()
    values = state.values.clone()
    values[:, :, :, :40, 0] = math.nan
    masked = State(values, state.valid_time)
    later = rolled_out(network(), masked, 50)
    assert torch.equal(torch.isnan(later.now[..., 0]), torch.isnan(masked.now[..., 0]))
    drift = (area_means(later) / area_means(masked) - 1).abs()[..., CONSERVED]
    assert drift.max() < 1e-7


@pytest.mark.parametrize("mesh", [MESH, latlon(np.linspace(80, -80, 9), np.arange(0, 360, 30.0))], ids=["ico", "grid"])
def test_in_flux_form_a_region_changes_by_what_flows_across_its_rim(mesh: Mesh) -> None:
    task = Task((DEPTH, WIND), HOUR)
    emulator = network("flux", task, mesh).double()
    state = start(task, mesh)
    state = State(state.values.double(), state.valid_time)
    following = rolled_out(emulator, state, 1)
    fluxes = emulator.network.fluxes
    features = emulator.inputs.features(state, torch.zeros(2, 2, mesh.num_nodes, 0, dtype=torch.float64))
    latents: list[torch.Tensor] = []
    fluxes.register_forward_pre_hook(lambda _, given: latents.append(given[0]))
    emulator.network(features)
    flux = (
        fluxes.fluxes(latents[0])[..., 0] / mesh.num_nodes * float(emulator.correction_std[0] * emulator.inputs.std[0])
    )
    areas = torch.from_numpy(mesh.areas)
    for seed in range(3):
        # A cap about a random place, which cuts edges.
        centre = mesh.positions[np.random.default_rng(seed).integers(mesh.num_nodes)]
        region = torch.from_numpy(mesh.positions @ centre > 0.6)
        first, second = region[fluxes.edges[0]], region[fluxes.edges[1]]
        inflow = torch.where(second & ~first, flux, 0.0).sum(-1) - torch.where(first & ~second, flux, 0.0).sum(-1)
        change = ((following.now - state.now)[:, 0, :, 0] * areas)[:, region].sum(-1)
        assert change.abs().min() > 1e-3
        torch.testing.assert_close(change, inflow, rtol=1e-6, atol=1e-7)


def test_the_fixer_does_not_keep_regions() -> None:
    """So that the test above could fail: what the fixer takes off, it takes off everywhere."""
    task = Task((DEPTH, WIND), HOUR)
    emulator = network("fixer", task)
    rolled_out(emulator, start(task), 1)
    assert emulator.inputs.conservation.correction is not None
    assert emulator.inputs.conservation.correction.abs().min() > 1.0  # metres everywhere, at every step
    emulator = network("flux", task)
    rolled_out(emulator, start(task), 1)
    assert emulator.inputs.conservation.correction is not None
    assert emulator.inputs.conservation.correction.abs().max() < 1e-3  # the rounding of 10 km alone


def test_fluxes_pass_along_the_finest_edges_once_each_and_turn_with_the_nodes() -> None:
    graph = build_graphs(default_config(MESH), MESH).processor
    forward, backward = finest_edges(graph, MESH)
    edges = graph.edge_index.numpy()
    assert len(forward) == 3 * (MESH.num_nodes - 2)  # Euler: the finest level's edges, and no coarser one's
    np.testing.assert_array_equal(edges[:, forward], edges[::-1][:, backward])
    assert (edges[0, forward] < edges[1, forward]).all()
    fluxes = network("flux").network.fluxes
    latent = torch.randn(1, MESH.num_nodes, 8, generator=torch.Generator().manual_seed(0))
    flux = fluxes.fluxes(latent)
    fluxes.edges, fluxes.towards, fluxes.back = fluxes.edges.flip(0), fluxes.back, fluxes.towards
    torch.testing.assert_close(fluxes.fluxes(latent), -flux)


@pytest.mark.parametrize("conserving", ["fixer", "flux"])
def test_gradients_of_an_unrolled_loss_reach_every_weight_that_acts(conserving: str) -> None:
    emulator = network(conserving).requires_grad_(True)
    state = start()
    later = rolled_out(emulator, state, 3)
    (later.now / STD).square().mean().backward()
    for name, weight in emulator.network.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all() and weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("conserving", ["fixer", "flux"])
def test_a_conserving_emulator_comes_back_from_its_file(conserving: str, tmp_path) -> None:
    emulator, state = network(conserving), start()
    count = len(TASK.prognostic)
    statistics = Statistics(TASK.prognostic, *(np.ones(count) for _ in range(6)))
    config = GNNConfig(processor=ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8), conserving=conserving)  # type: ignore[arg-type]
    save_emulator(tmp_path / "e.safetensors", TrainedEmulator("e", emulator, config, statistics, {}, None))
    again = load_emulator(tmp_path / "e.safetensors").emulator
    assert again.task == TASK
    assert torch.equal(rolled_out(again, state, 2).values, rolled_out(emulator, state, 2).values)


def test_the_size_of_the_corrections_is_told_step_by_step() -> None:
    sizes = corrections(network(), start(), Forcings(), 3)
    assert set(sizes) == {"h", "q", "c"} and all(size.shape == (3,) for size in sizes.values())
    assert sizes["h"].min() > 1.0
    loose = Task(tuple(replace(variable, conserved=False) for variable in TASK.variables), HOUR)
    assert corrections(network(task=loose), start(), Forcings(), 3) == {}


def test_only_a_prognostic_variable_is_conserved() -> None:
    with pytest.raises(MeshcastError, match="rain is diagnostic, but only a prognostic"):
        Task((DEPTH, Variable("rain", "diagnostic", conserved=True)), HOUR)


def test_flux_form_without_anything_to_conserve_is_refused() -> None:
    with pytest.raises(MeshcastError, match=r"Name them in task\.conserved"):
        network("flux", Task((WIND,), HOUR))
