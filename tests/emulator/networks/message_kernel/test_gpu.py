"""Kernel messages on a GPU: the same function there as on a CPU.

Without a GPU the kernels are compiled for one, and run in Triton's interpreter, which knows no products of bfloat16.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from emulator.networks.message_kernel import gpu, operator
from emulator.networks.message_kernel.edge_lists import EdgeLists
from emulator.networks.message_kernel.library import FALLBACK, using
from tests.emulator.networks.message_kernel.test_operator import (
    SIZES,
    Case,
    assert_equal_to,
    case,
    encoder,
    half_reached,
    multi_mesh,
    shuffled,
)

COMMAND = "python -m pytest tests/emulator/networks/message_kernel/test_gpu.py"
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason=f"there is no GPU here; on a machine with one, run {COMMAND}"
)
needs_triton = pytest.mark.skipif(
    not gpu.has_triton(),
    reason=f"Triton is not installed; make test-slow installs it, or pip install triton: {COMMAND}",
)
GRAPHS = {
    "multi-mesh": lambda: multi_mesh(1),
    "no leading nodes": lambda: shuffled(multi_mesh(1)),
    "half": half_reached,
    "encoder": encoder,
}


def run_directly(one: Case) -> list[Tensor]:
    """Return output and gradients as `Case.run`, of the functions for a GPU on the tensors of a CPU."""
    layer, edges = one.layer, one.kernels
    same = one.senders is one.receivers
    senders = one.senders.transpose(0, 1).contiguous()
    receivers = senders if same else one.receivers.transpose(0, 1).contiguous()
    weights = (layer.neighbours, layer.own.weight, layer.own.bias, layer.out.weight, layer.out.bias)
    lists = EdgeLists(edges.integers, edges.floats, edges.table, edges.counts)
    given = (senders, receivers, *(each.detach() for each in weights), *lists, edges.num_vectors)
    output, total = operator._forward_on_gpu(*given, True)
    gradient = one.gradient.transpose(0, 1).contiguous()
    to_senders, to_receivers, *to_weights = operator._backward_on_gpu(gradient, total, *given)
    rows = (output, to_senders, to_senders if same else to_receivers)
    order = {id(each): found for each, found in zip(weights, to_weights, strict=True)}
    return [*(each.transpose(0, 1) for each in rows), *(order[id(each)] for each in layer.parameters())]


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernels run by Triton's interpreter, on a CPU."""
    found = importlib.util.find_spec("emulator.networks.message_kernel.triton_kernels")
    assert found is not None and found.loader is not None
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # read where a kernel is defined
    kernels = importlib.util.module_from_spec(found)
    found.loader.exec_module(kernels)
    monkeypatch.setattr(gpu, "_kernels", lambda: kernels)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_the_kernels_compute_what_sparse_products_do(interpreted: None, sizes: tuple[int, ...]) -> None:
    one = case(multi_mesh(1), *sizes)
    assert_equal_to(run_directly(one), one.run(FALLBACK, torch.float64), 1e-6)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))
def test_the_kernels_compute_the_same_on_any_graph(interpreted: None, graph: Any) -> None:
    one = case(graph(), 48, 32, 6, 2, 3)
    assert_equal_to(run_directly(one), one.run(FALLBACK, torch.float64), 1e-6)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100 and H200"])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("dtype", list(gpu.GATHERED), ids=["bfloat16", "float32"])
def test_the_kernels_compile_for_a_gpu(capability: int, width: int, dtype: torch.dtype) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernels = gpu._kernels()
    rows, columns = gpu.GATHERED[dtype]
    sizes = {"K": 5, "ROWS": rows, "COLUMNS": columns}
    constants: dict[str, dict[str, Any]] = {
        "messages": {**sizes, "HIDDEN": width, "VECTORS": 16},
        "messages_back": {**sizes, "CHANNELS": width, "VECTORS": 16},
        "weights_back": {**sizes, "HIDDEN": width, "TURN": -1},
        "collected": {"OCTAVES": 6, "SENDERS": False, "ACTIVATE": True, "ROWS": gpu.ROWS, "COLUMNS": gpu.COLUMNS},
        "silu_back": {"COLUMNS": gpu.NUMBERS},
    }
    low = "*bf16" if dtype == torch.bfloat16 else "*fp32"
    pointers = {
        **dict.fromkeys(("senders", "neighbours", "hidden_gradient", "own", "activated", "gradient", "total"), low),
        **{"integers": "*i32", "floats": "*fp32", "table": "*i64", "parts": "*fp32"},
    }
    for name, constant in constants.items():
        kernel = getattr(kernels, name)
        if capability == 90:  # a size of one is a constant to Triton
            constant |= {size: 1 for size in ("batch", "chunks") if size in kernel.arg_names}
        results = "*fp32" if "K" in constant else low
        signature = {
            argument: "constexpr" if argument in constant else pointers.get(argument, "i32")
            for argument in kernel.arg_names
        } | {"result": results}
        whole = {"batch", "rows", "chunks", "before", "numbers"}  # other sizes come in multiples of sixteen
        even = {(place,): [["tt.divisibility", 16]] for place, each in enumerate(signature) if each not in whole}
        even = {place: each for place, each in even.items() if list(signature.values())[place[0]] != "constexpr"}
        source = ASTSource(kernel, signature, constant, even)
        warps = {"num_warps": gpu._warps(width)}
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=warps)
        assert compiled.metadata.shared <= 100_000, name
        assert ("mma" in compiled.asm["ptx"]) == ("K" in constant and dtype == torch.bfloat16), name


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))
def test_a_gpu_has_the_output_and_gradients_of_sparse_products(graph: Any, dtype: torch.dtype) -> None:
    one = case(graph(), 48, 32, 6, 2, 3)
    assert_equal_to(on_gpu(one, dtype), one.run(FALLBACK, torch.float64), 1e-4 if dtype == torch.float32 else 2e-2)


@needs_gpu
@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_a_gpu_has_the_output_and_gradients_of_sparse_products_at_any_width(sizes: tuple[int, ...]) -> None:
    one = case(multi_mesh(), *sizes)
    assert_equal_to(on_gpu(one, torch.float32), one.run(FALLBACK, torch.float64), 1e-4)


@needs_gpu
def test_a_gpu_repeats_its_results_to_the_bit() -> None:
    one = case(multi_mesh(4), 64, 64, 8, 2, 4)
    first, second = on_gpu(one, torch.bfloat16), on_gpu(one, torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def on_gpu(one: Case, dtype: torch.dtype) -> list[Tensor]:
    """Return output and gradients as `Case.run`, computed on a GPU."""
    layer, kernels = one.layer.to("cuda"), one.kernels.to("cuda")
    senders = one.senders.cuda().requires_grad_()
    receivers = senders if one.receivers is one.senders else one.receivers.cuda().requires_grad_()
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16), using(""):
        output = layer(kernels, senders, receivers)
    output.backward(one.gradient.cuda().to(output.dtype))
    found = [output, *(each.grad for each in (senders, receivers, *layer.parameters()) if each.grad is not None)]
    one.layer, one.kernels = layer.to("cpu"), kernels.to("cpu")
    one.layer.zero_grad()
    return [each.detach().cpu() for each in found]
