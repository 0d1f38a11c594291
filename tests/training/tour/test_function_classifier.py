"""Networks name the kind of a sampled function, in more noise than they were trained with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.optimisation.descent import DescentConfig, num_parameters
from training.tour.function_classifier import (
    KINDS,
    FunctionCNN,
    accuracy_by_noise,
    confusion,
    fit_function_classifier,
    function_ffnn,
    random_functions,
    unseen_functions,
)


def test_functions_have_amplitude_one_and_come_of_four_kinds() -> None:
    functions, kinds = random_functions(2000, torch.Generator().manual_seed(0))
    assert functions.shape == (2000, 50)
    assert float(functions.abs().max()) <= 1.0
    assert float(functions.abs().amax(dim=1).min()) > 0.9
    assert torch.bincount(kinds).min() > 2000 / len(KINDS) * 0.85


def test_unseen_functions_are_others_than_those_of_training() -> None:
    assert not torch.equal(unseen_functions(50, 0.0)[0], random_functions(50, torch.Generator().manual_seed(0))[0])


def test_the_convolutions_flatten_to_1600_and_the_baseline_is_as_large() -> None:
    network = FunctionCNN()
    assert network.convolutions(torch.zeros(1, 1, 50)).numel() == 1600
    assert num_parameters(network) == (5 + 1) * 16 + (16 * 5 + 1) * 32 + 1601 * 128 + 129 * 4 == 208132
    assert abs(num_parameters(function_ffnn()) / 208132 - 1) < 1e-3


@pytest.mark.parametrize("build", [FunctionCNN, function_ffnn])
def test_functions_are_named_rightly_at_twice_the_noise_of_training(build: type[FunctionCNN]) -> None:
    descent = DescentConfig(epochs=3, batch_size=64, learning_rate=2e-3)
    fitted = fit_function_classifier(build, seed=1, descent=descent)
    accuracy = accuracy_by_noise(fitted.network, [0.1, 0.2, 2.0], count=1000)
    assert accuracy[:2].min() >= 0.95
    assert accuracy[2] < 0.75  # drowned
    counts = confusion(fitted.network, 0.2, count=1000)
    assert counts.sum() == 1000
    assert np.trace(counts) / 1000 == pytest.approx(accuracy[1])
