"""A row says of its seeds what a reader asks."""

from __future__ import annotations

import math

from inference.comparison.record import Row, Seed
from tests.inference.comparisons import ring_comparison


def test_a_row_is_as_bad_as_its_worst_seed_and_says_why() -> None:
    seeds = (Seed("CNN", "done", 0), Seed("CNN", "failed", 1, "out of memory"), Seed("CNN", "diverged", 2, "inf"))
    row = Row("CNN", "cnn", seeds)
    assert row.status == "failed"
    assert row.reasons == ("seed 1: out of memory", "seed 2: inf")
    alone = Row("Keras CNN", "keras_cnn", (Seed("Keras CNN", "unavailable", reason="needs TensorFlow"),))
    assert (alone.status, alone.reasons) == ("unavailable", ("needs TensorFlow",))


def test_costs_are_those_of_the_seeds_that_have_any() -> None:
    comparison, _ = ring_comparison(("GNN", "ridge", "UNet"), 2, 2, 8, 16)
    assert len(comparison["GNN"].training_seconds) == 2 and comparison["ridge"].training_seconds == ()
    assert comparison["ridge"].parameters == {"trainable": 0, "fixed": 12_000}
    assert comparison["plain RNN & more_%"].parameters == {}
    assert comparison["ridge"].seed_numbers == () and comparison["GNN"].seed_numbers == (0, 1)
    assert comparison["GNN"].of_training("learning_rate") == 1e-3 and comparison["ridge"].of_training("noise") is None
    assert math.isinf(comparison["UNet"].seed_scores[1]) and math.isfinite(comparison["UNet"].seed_scores[0])
