"""Conservation: integrals by hand, and drift from the start."""

import pytest
import torch

from inference.scores.conservation import area_integrals, drift, relative_drift


def test_integrals_by_hand() -> None:
    areas = torch.tensor([0.25, 0.75])
    found = area_integrals(torch.tensor([[2.0], [4.0]]), areas)
    assert found["mean"].item() == pytest.approx(3.5) and found["mean_square"].item() == pytest.approx(13.0)
    masked = area_integrals(torch.tensor([[2.0], [torch.nan]]), areas, torch.tensor([[True], [False]]))
    assert masked["mean"].item() == pytest.approx(2.0)


def test_drift_is_counted_from_the_start() -> None:
    series, initial = torch.tensor([[[2.0], [3.0]]]), torch.tensor([[2.0]])
    assert drift(series, initial).flatten().tolist() == [0.0, 1.0]
    assert relative_drift(series, initial).flatten().tolist() == [0.0, 0.5]
