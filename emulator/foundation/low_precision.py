"""bfloat16: what a network may be computed in, and where its products are fast."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def products_in(precision: Precision, device: str) -> AbstractContextManager[object]:
    """Return a context in which a network's products are taken in a precision, on a kind of device; by autocast."""
    return nullcontext() if precision == "float32" else torch.autocast(device, torch.bfloat16)


def fast_in_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Return whether a device has instructions for products in bfloat16, so that they are faster than in float32.

    Without them (AVX-512 BF16 or AMX on x86, BF16 on ARM, compute capability 8.0 on CUDA) PyTorch computes the same by
    conversion, and takes longer.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    if platform.machine() in ("aarch64", "arm64"):
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
