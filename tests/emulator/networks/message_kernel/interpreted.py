"""Run the kernels for a GPU in Triton's interpreter, on a CPU.

    TRITON_INTERPRET=1 python -m tests.emulator.networks.message_kernel.interpreted

In a process of its own with TRITON_INTERPRET=1, which Triton reads when it is imported. Prints JSON: of each case the
largest errors of output and gradients, over the largest number, beside sparse products in double precision.
"""

from __future__ import annotations

import json
import os

import torch
from torch import Tensor

from emulator.networks.message_kernel import operator
from emulator.networks.message_kernel.library import FALLBACK
from tests.emulator.networks.message_kernel.test_operator import (
    SIZES,
    Case,
    case,
    encoder,
    errors,
    half_reached,
    multi_mesh,
    shuffled,
)

GRAPHS = {
    "multi-mesh": lambda: multi_mesh(1),
    "no leading nodes": lambda: shuffled(multi_mesh(1)),
    "half": half_reached,
    "encoder": encoder,
}
USUAL = (48, 32, 6, 2, 3)
CASES = {
    **{f"sizes {name}": (GRAPHS["multi-mesh"], sizes) for name, sizes in SIZES.items()},
    **{f"graph {name}": (graph, USUAL) for name, graph in GRAPHS.items()},
}


def main() -> None:
    assert os.environ.get("TRITON_INTERPRET") == "1", "set TRITON_INTERPRET=1 before Triton is imported"
    found = {}
    for name, (graph, sizes) in CASES.items():
        one = case(graph(), *sizes)
        found[name] = errors(run_directly(one), one.run(FALLBACK, torch.float64))
    print(json.dumps(found))


def run_directly(one: Case) -> list[Tensor]:
    """Return output and gradients as `Case.run`, of the functions for a GPU on the tensors of a CPU."""
    layer = one.layer
    same = one.senders is one.receivers
    senders = one.senders.transpose(0, 1).contiguous()
    receivers = senders if same else one.receivers.transpose(0, 1).contiguous()
    weights = (each.detach() for each in layer.weights)
    given = (senders, receivers, *weights, *one.kernels.edges, one.kernels.num_vectors)
    output, total = operator._forward_on_gpu(*given, True)
    gradient = one.gradient.transpose(0, 1).contiguous()
    to_senders, to_receivers, *to_weights = operator._backward_on_gpu(gradient, total, *given)
    rows = (output, to_senders, to_senders if same else to_receivers)
    order = {id(each): found for each, found in zip(layer.weights, to_weights, strict=True)}
    return [*(each.transpose(0, 1) for each in rows), *(order[id(each)] for each in layer.parameters())]


if __name__ == "__main__":
    main()
