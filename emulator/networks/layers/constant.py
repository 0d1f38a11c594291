"""What a network keeps beside its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def constant(values: NDArray[Any]) -> nn.Buffer:
    """Return an array that moves with its module and is no part of its state, floats in single precision."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return nn.Buffer(tensor.float() if tensor.is_floating_point() else tensor, persistent=False)
