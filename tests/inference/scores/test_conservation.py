"""Conservation: integrals by hand, and drift from the start."""

import pytest
import torch

from inference.scores import conservation

AREAS = torch.tensor([0.25, 0.75])


def test_the_area_mean_by_hand() -> None:
    assert conservation.area_mean(torch.tensor([[2.0], [4.0]]), AREAS).item() == pytest.approx(3.5)
    known = torch.tensor([[True], [False]])
    assert conservation.area_mean(torch.tensor([[2.0], [torch.nan]]), AREAS, known).item() == pytest.approx(2.0)


def test_drift_is_counted_from_the_start() -> None:
    """Two members, one that keeps the start 2, 4 and one that adds 1 everywhere: half a unit on average."""
    initial, known = torch.tensor([[[2.0], [4.0]]]), torch.ones(2, 1, dtype=torch.bool)
    ensemble = torch.stack([initial, initial + 1], dim=1)[:, None]  # [case, lead, member, node, variable]
    assert conservation.mean_drift(ensemble, initial, AREAS, known).item() == pytest.approx(0.5)
    before, after = 0.25 * 4 + 0.75 * 16, 0.25 * 9 + 0.75 * 25
    found = conservation.mean_square_drift(ensemble, initial, AREAS, known).item()
    assert found == pytest.approx((after - before) / 2 / before)
    truth = initial[:, None] + 1
    assert conservation.truth_mean_drift(truth, initial, AREAS, known).item() == pytest.approx(1.0)
    found = conservation.truth_mean_square_drift(truth, initial, AREAS, known).item()
    assert found == pytest.approx((after - before) / before)
