"""Values that are computed a few cases at a time are those of the whole array, wherever it is looked at."""

import numpy as np
import pytest

from inference.forecasts import computed
from inference.forecasts.computed import ComputedValues


@pytest.mark.parametrize("index", [0, 4, slice(1, 4), (slice(0, 5), slice(None), slice(1, 2)), (3, 0, 1)])
def test_a_part_is_the_part_of_the_whole(monkeypatch: pytest.MonkeyPatch, index: object) -> None:
    whole = np.random.default_rng(0).normal(size=(5, 1, 3, 4, 2)).astype(np.float32)
    monkeypatch.setattr(computed, "BLOCK_BYTES", 2 * whole[0].nbytes)
    asked: list[list[int]] = []

    def compute(cases: np.ndarray) -> np.ndarray:
        asked.append(cases.tolist())
        return whole[cases]

    values = ComputedValues(compute, whole.shape)  # type: ignore[arg-type]
    np.testing.assert_array_equal(values[index], whole[index])  # type: ignore[index]
    assert max(map(len, asked)) <= 2, "no more than fit into a block"
    before = len(asked)
    np.testing.assert_array_equal(values[:1], whole[:1])
    assert len(asked) <= before + 1 and values[0] is not whole
