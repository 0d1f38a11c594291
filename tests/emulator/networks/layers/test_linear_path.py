"""The linear path: linear physics exactly, symmetries, and what descent makes of smooth fields and of noise."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.layers.linear_path import LinearPath, displacements, fourier_basis
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import (
    MESHES,
    QUESTIONS,
    RING_LAYOUT,
    a_checkpoint_says_the_same,
    emulator_of,
    features_of,
    network_of,
)

GLOBE, AREA = MESHES["globe"](), MESHES["area"]()
CONFIG = GNNConfig(processor=ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8), linear_reach=2)


@pytest.mark.parametrize(("nodes", "reach", "shift"), [(24, 12, 12), (24, 12, -11), (24, 5, 5), (25, 12, -12)])
def test_a_shift_within_its_reach_is_exact(nodes: int, reach: int, shift: int) -> None:
    path = LinearPath(ring(nodes), reach, 2, 1)
    around = displacements(ring(nodes), reach)[1]
    kernel = torch.zeros(1, 2, 1, len(around))
    kernel[0, 1, 0, list(around).index(shift)] = 1.0
    path.set_kernel(kernel)
    fields = torch.randn(3, nodes, 2)
    torch.testing.assert_close(path(fields), fields[..., 1:].roll(-shift, 1), rtol=0, atol=2e-6)
    torch.testing.assert_close(path.kernel(), kernel, rtol=0, atol=1e-6)


def test_the_whole_ring_moves_a_wave_by_a_fraction_of_a_node() -> None:
    """As no neighbourhood does: u(x - 10.5 cells) of a field of any wavelengths but the shortest."""
    nodes, shift = 40, 10.5
    wavenumber = 2 * torch.pi * torch.arange(nodes // 2 + 1, dtype=torch.float64) / nodes
    moved = torch.polar(torch.ones_like(wavenumber), -wavenumber * shift)
    moved[-1] = 0.0
    response = torch.fft.irfft(moved, n=nodes)  # of a node d to the right to a pulse, W at -d
    around = displacements(ring(nodes), nodes // 2)[1]
    path = LinearPath(ring(nodes), nodes // 2, 1, 1).double()
    path.set_kernel(response[-around % nodes].view(1, 1, 1, -1))
    waves = torch.fft.rfft(torch.randn(2, nodes, dtype=torch.float64))
    waves[:, -1] = 0.0
    fields, expected = (torch.fft.irfft(each, n=nodes)[..., None] for each in (waves, waves * moved))
    torch.testing.assert_close(path(fields), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mesh", [GLOBE, AREA], ids=["globe", "area"])
def test_on_a_grid_it_is_the_sum_over_rows_and_columns(mesh: Mesh) -> None:
    reach, (rows, columns) = 2, mesh.shape
    path = LinearPath(mesh, reach, 2, 3)
    torch.nn.init.normal_(path.coefficients)
    fields = torch.randn(1, mesh.num_nodes, 2)
    kernel, grid, expected = path.kernel(), fields.view(rows, columns, 2), torch.zeros(rows, columns, 3)
    for i, j, di, dj in np.ndindex(rows, columns, 2 * reach + 1, 2 * reach + 1):
        row, column = i + di - reach, j + dj - reach
        column = column % columns if mesh.domain.periodic else column
        if 0 <= row < rows and 0 <= column < columns:
            expected[i, j] += kernel[:, :, di, dj] @ grid[row, column]
    torch.testing.assert_close(path(fields)[0], expected.detach().view(-1, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("nodes", "reach"), [(24, 12), (24, 5), (25, 12)])
def test_its_basis_is_orthonormal(nodes: int, reach: int) -> None:
    basis = fourier_basis(displacements(ring(nodes), reach)[1])
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)


def test_the_node_opposite_counts_once() -> None:
    assert list(displacements(ring(6), 3)[1]) == [-2, -1, 0, 1, 2, 3]
    assert list(displacements(ring(7), 3)[1]) == [-3, -2, -1, 0, 1, 2, 3]


def around_the_ring(fields: Tensor) -> Tensor:
    return fields.roll(5, 1)


def around_the_globe(fields: Tensor) -> Tensor:
    return fields.view(len(fields), *GLOBE.shape, -1).roll(3, 2).flatten(1, 2)


@pytest.mark.parametrize(("mesh", "turned"), [(ring(24), around_the_ring), (GLOBE, around_the_globe)])
def test_a_field_turned_about_the_axis_gives_the_output_turned(mesh: Mesh, turned: Callable[[Tensor], Tensor]) -> None:
    path = LinearPath(mesh, 3, 2, 2)
    torch.nn.init.normal_(path.coefficients)
    fields = torch.randn(2, mesh.num_nodes, 2)
    torch.testing.assert_close(path(turned(fields)), turned(path(fields)), rtol=1e-4, atol=1e-5)


def test_descent_finds_the_shift_of_smooth_fields_and_damps_what_they_lack() -> None:
    """Five waves in noise. The same descent on W_d itself leaves half the amplitude of waves that the fields lack."""
    nodes, path = 32, LinearPath(ring(32), 16, 1, 1)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(path.parameters(), lr=1e-2)
    x = 2 * torch.pi * torch.arange(nodes) / nodes
    waves = torch.stack([wave(k * x) for k in range(1, 6) for wave in (torch.sin, torch.cos)])
    for update in range(600):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - update / 600)
        fields = torch.randn(16, 10, generator=generator) @ waves
        noisy = fields + 0.01 * torch.randn(fields.shape, generator=generator)
        optimiser.zero_grad()
        (path(noisy[..., None])[..., 0] - fields.roll(4, 1)).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        assert (path(waves[..., None])[..., 0] - waves.roll(4, 1)).abs().max() < 1e-3
        unseen = torch.stack([wave(k * x) for k in range(7, 16) for wave in (torch.sin, torch.cos)])
        assert path(unseen[..., None]).abs().max() < 0.1


def without(network: nn.Module) -> nn.Module:
    """The same network without its linear path."""
    other = deepcopy(network)
    other.linear = None
    return other


# In the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mesh", ["ring", "area", "globe"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_a_network_with_it_answers_as_every_other(question: Callable[[GNNConfig, Mesh], None], mesh: str) -> None:
    question(CONFIG, MESHES[mesh]())


def test_a_checkpoint_brings_it_back(tmp_path: Path) -> None:
    a_checkpoint_says_the_same(CONFIG, MESHES["ring"](), tmp_path)


def test_it_is_added_to_what_the_messages_give_and_nothing_else_changes() -> None:
    plain, linear = (network_of(replace(CONFIG, linear_reach=reach), RING_LAYOUT, ring(24)) for reach in (None, 12))
    features = torch.randn(2, 24, 2)
    assert set(linear.state_dict()) - set(plain.state_dict()) == {"linear.coefficients"}
    assert linear.linear.coefficients.numel() == 2 * 24
    torch.testing.assert_close(linear(features), plain(features) + linear.linear(features))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear.linear(features).dtype == torch.float32


def test_a_mesh_of_its_own_leaves_it_on_the_grid() -> None:
    emulator = emulator_of(replace(CONFIG, graph=GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1))), GLOBE)
    network, features = emulator.network, features_of(emulator)
    assert network.mesh is not None
    torch.testing.assert_close(network(features) - without(network)(features), network.linear(features))


def test_statics_and_forcings_do_not_enter_it() -> None:
    path = LinearPath(ring(24), 3, 2, 1)
    torch.nn.init.normal_(path.coefficients)
    features = torch.randn(1, 24, 5)
    other = torch.cat([features[..., :2], torch.randn(1, 24, 3)], dim=-1)
    assert torch.equal(path(features), path(other))


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(MeshcastError, match=r"linear_reach needs displacements that all nodes share"):
        LinearPath(icosphere(1), 2, 1, 1)
    with pytest.raises(MeshcastError, match=r"must lie in 1 to 12, half way around, but it is 13"):
        LinearPath(ring(24), 13, 1, 1)
    with pytest.raises(MeshcastError, match=r"must lie in 1 to 5, one less than its columns, but it is 6"):
        LinearPath(AREA, 6, 1, 1)
    with pytest.raises(MeshcastError, match=r"emulator.linear_reach must be at least 1, but is 0"):
        GNNConfig(linear_reach=0)


def test_fluxes_leave_no_room_for_it() -> None:
    config = replace(CONFIG, conserving="flux")
    with pytest.raises(MeshcastError, match=r"emulator.linear_reach adds to it what is none"):
        config.build(replace(RING_LAYOUT, conserved=(0,)), ring(24))
