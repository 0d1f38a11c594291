"""Names beside curves and points keep clear of each other."""

import numpy as np
import pytest

from inference.pictures.direct_labels import spread


def test_labels_move_apart_and_keep_their_order() -> None:
    wished = np.array([0.5, 0.52, 0.1, 0.51])
    placed = spread(wished, 0.1)
    assert (np.argsort(placed) == np.argsort(wished)).all() and np.diff(np.sort(placed)).min() > 0.0999
    assert placed[2] == pytest.approx(0.1) and spread(np.array([0.99, 1.0]), 0.1).max() <= 1.0
