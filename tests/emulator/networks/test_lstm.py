"""The LSTM over the history: by hand, on every mesh, and what it can and cannot hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.networks.lstm import LSTM, LSTMConfig, NodeLSTM, default_radius
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import (
    MESHES,
    QUESTIONS,
    RING_LAYOUT,
    a_checkpoint_says_the_same,
    left_after_fitting,
    network_of,
    shifting_waves,
)

CONFIGS = {
    "node": LSTMConfig(width=6, radius=1),
    "two layers": LSTMConfig(width=5, num_layers=2, radius=2),
    "whole": LSTMConfig(scope="whole", width=6),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("mesh", MESHES)
def test_it_answers_as_every_network_does(mesh: str, name: str, tmp_path: Path) -> None:
    for question in QUESTIONS:
        question(CONFIGS[name], MESHES[mesh]())
    a_checkpoint_says_the_same(CONFIGS[name], MESHES[mesh](), tmp_path)


def test_the_gates_are_those_of_the_formula_and_the_state_begins_at_zero() -> None:
    torch.manual_seed(0)
    layers = LSTM(3, 2, 1, 1)
    torch.nn.init.normal_(layers.decoder.weight)
    weights = {name: weight.detach().numpy() for name, weight in layers.lstm.named_parameters()}
    np.testing.assert_array_equal(weights["bias_ih_l0"] + weights["bias_hh_l0"], [0, 0, 1, 1, 0, 0, 0, 0])
    sequence = torch.randn(1, 4, 3)
    h, c = np.zeros(2), np.zeros(2)
    for x in sequence[0].numpy():
        gates = weights["weight_ih_l0"] @ x + weights["weight_hh_l0"] @ h + weights["bias_ih_l0"]
        i, f, g, o = gates.reshape(4, 2)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    expected = layers.decoder.weight.detach().numpy() @ h
    for _ in range(2):  # no call leaves anything behind
        np.testing.assert_allclose(layers(sequence).detach().numpy()[0], expected, rtol=1e-5)


def test_a_node_hears_as_far_as_the_radius_and_no_farther() -> None:
    network = network_of(LSTMConfig(width=6, radius=3), RING_LAYOUT, ring(24))
    features = torch.randn(1, 24, 2)
    other = features.clone()
    other[:, 10] += 1.0
    changed = (network(other) - network(features)).abs().amax(dim=(0, 2)) > 1e-7
    assert torch.nonzero(changed).flatten().tolist() == list(range(7, 14))


def test_a_turned_ring_gives_a_turned_answer_but_not_from_the_whole_field() -> None:
    features = torch.randn(2, 24, 2)
    local, whole = (network_of(CONFIGS[name], RING_LAYOUT, ring(24)) for name in ("node", "whole"))
    torch.testing.assert_close(local(features.roll(5, dims=1)), local(features).roll(5, dims=1))
    assert (whole(features.roll(5, dims=1)) - whole(features).roll(5, dims=1)).abs().max() > 1e-2


@pytest.mark.parametrize("scope", ["node", "whole"])
def test_it_learns_which_way_a_wave_goes(scope: str) -> None:
    network = network_of(LSTMConfig(scope=scope, width=16, radius=1), RING_LAYOUT, ring(16))
    assert left_after_fitting(network, *shifting_waves(16, 8, seed=0), updates=100) < 0.02


def test_the_default_radius_fits_a_small_ring() -> None:
    assert [default_radius(mesh) for mesh in (ring(160), ring(7), icosphere(0))] == [8, 3, 1]
    assert NodeLSTM(LSTMConfig(width=2), RING_LAYOUT, ring(7)).surroundings.num_received == 7
