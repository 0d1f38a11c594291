"""Kernel messages on a GPU: the same function there as on a CPU.

Without a GPU the kernels are compiled for one, and run in Triton's interpreter, which knows no products of bfloat16.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from emulator.networks.message_kernel import gpu
from emulator.networks.message_kernel.library import FALLBACK
from tests.emulator.networks.message_kernel import interpreted
from tests.emulator.networks.message_kernel.interpreted import GRAPHS, USUAL
from tests.emulator.networks.message_kernel.test_operator import SIZES, assert_equal_to, case, multi_mesh
from tests.time_limits import HUNG

COMMAND = "python -m pytest tests/emulator/networks/message_kernel/test_gpu.py"
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason=f"there is no GPU here; on a machine with one, run {COMMAND}"
)
needs_triton = pytest.mark.skipif(
    not gpu.has_triton(),
    reason=f"Triton is not installed; make test-slow installs it, or pip install triton: {COMMAND}",
)


@pytest.mark.slow
@needs_triton
def test_the_kernels_compute_in_the_interpreter_what_sparse_products_do() -> None:
    command = [sys.executable, "-m", interpreted.__name__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}  # read where Triton is imported
    root = Path(__file__).resolve().parents[4]
    ended = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=HUNG, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found) == set(interpreted.CASES)
    assert {name: each for name, each in found.items() if not all(error <= 1e-6 for error in each)} == {}


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
    one = case(graph(), *USUAL)
    assert_equal_to(
        one.run("", dtype, "cuda"), one.run(FALLBACK, torch.float64), 1e-4 if dtype == torch.float32 else 2e-2
    )


@needs_gpu
@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_a_gpu_has_the_output_and_gradients_of_sparse_products_at_any_width(sizes: tuple[int, ...]) -> None:
    one = case(multi_mesh(), *sizes)
    assert_equal_to(one.run("", torch.float32, "cuda"), one.run(FALLBACK, torch.float64), 1e-4)


@needs_gpu
def test_a_gpu_repeats_its_results_to_the_bit() -> None:
    one = case(multi_mesh(4), 64, 64, 8, 2, 4)
    first, second = (one.run("", torch.bfloat16, "cuda") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
