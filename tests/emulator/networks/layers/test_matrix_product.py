"""oneDNN's product is torch's, with its gradients, in every shape; and torch's own where there is no oneDNN."""

from __future__ import annotations

import pytest
import torch

from emulator.networks.layers import matrix_product
from emulator.networks.layers.matrix_product import linear

SHAPES = [((40,), 3, 5), ((2, 30), 16, 8), ((1, 3), 7, 1), ((600,), 1, 4), ((3, 0), 4, 2)]


def outcome(rows: tuple[int, ...], inputs: int, outputs: int, function: object, bias: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(*rows, inputs), (outputs, inputs), (outputs,), (*rows, outputs)]
    *given, weight = (torch.randn(shape, generator=generator) for shape in shapes)
    given = [values.requires_grad_() for values in given[: 2 + bias]]
    out = function(*given)  # type: ignore[operator]
    (out * weight).sum().backward()
    return [out.detach(), *(values.grad for values in given)]  # type: ignore[list-item]


@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("library", [True, False])
def test_values_and_gradients_are_those_of_torch(
    rows: tuple[int, ...], inputs: int, outputs: int, bias: bool, library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library and not matrix_product._has_onednn():
        pytest.skip("this torch has no oneDNN product")
    monkeypatch.setattr(matrix_product, "_has_onednn", lambda: library)
    ours = outcome(rows, inputs, outputs, linear, bias)
    for first, second in zip(ours, outcome(rows, inputs, outputs, torch.nn.functional.linear, bias), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_what_does_not_lie_row_by_row_is_taken_as_it_lies() -> None:
    rows, weight = torch.randn(9, 20).T, torch.randn(9, 6).T
    torch.testing.assert_close(linear(rows, weight), rows @ weight.T, rtol=1e-5, atol=1e-5)
    spread = torch.randn(6, 20, 9).transpose(0, 1)
    torch.testing.assert_close(linear(spread, weight), spread @ weight.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_torchs_own(dtype: torch.dtype) -> None:
    rows, weight = torch.randn(20, 9).to(dtype), torch.randn(6, 9).to(dtype)
    assert torch.equal(linear(rows, weight), torch.nn.functional.linear(rows, weight))
