"""The layer of kernel messages as an operator of PyTorch, `torch.ops.meshcast.kernel_messages`, with its gradient.

    out_i = x_i + V σ(U x_i + Σ_o Σ_k W_ok Σ_{e: j -> i in octave o} φ_k(e) T_e x_j + b) + c

Rows are [node, batch, channel] in single precision or bfloat16, weights in single precision. A forward pass keeps what
is under σ, from which, with the rows, the gradient computes all the rest again: the sums over edges are cheap beside
their products with weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from emulator.networks.message_kernel import gpu
from emulator.networks.message_kernel.edge_lists import EdgeLists
from emulator.networks.message_kernel.library import Call, Library, Sizes, fallback_asked_for, message_library

FORWARD_ROWS, BACKWARD_ROWS = 96, 192  # of a tile; a tile's sums stay in the cache of a core
LARGE_TILE, MANY_ROWS = 384, 10_000  # rows of a tile where there are many, which use each octave's weights for longer
CHUNK_TILES, MOST_CHUNKS = 6, 16  # gradients of weights are summed chunk by chunk, whatever the number of threads
KERNELS = (3, 5, 7)  # the numbers of kernels that message_kernel.cpp is compiled for
MULTIPLE = 16  # latent and hidden features come in multiples of it

WEIGHTS = "Tensor neighbours, Tensor own, Tensor own_bias, Tensor out, Tensor out_bias"
EDGES = "Tensor integers, Tensor floats, Tensor table, int[] counts, int num_vectors"
torch.library.define(
    "meshcast::kernel_messages",
    f"(Tensor senders, Tensor receivers, {WEIGHTS}, {EDGES}, bool keep) -> (Tensor, Tensor)",
)
torch.library.define(
    "meshcast::kernel_messages_backward",
    f"(Tensor gradient, Tensor total, Tensor senders, Tensor receivers, {WEIGHTS}, {EDGES}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


class Weights(NamedTuple):
    """The weights of a layer.

    neighbours: [octave, kernel, latent, hidden], W. own, own_bias: [hidden, latent] and [hidden], U and b. out,
    out_bias: [latent, hidden] and [latent], V and c.
    """

    neighbours: Tensor
    own: Tensor
    own_bias: Tensor
    out: Tensor
    out_bias: Tensor

    def padded(self, latent: int, hidden: int) -> Weights:
        """Return them with so many more latent and hidden features, which have no weight."""
        return Weights(
            pad(self.neighbours, (0, hidden, 0, latent)),
            pad(self.own, (0, latent, 0, hidden)),
            pad(self.own_bias, (0, hidden)),
            pad(self.out, (0, hidden, 0, latent)),
            pad(self.out_bias, (0, latent)),
        )


def is_fused(dtype: torch.dtype, weights: Weights, edges: EdgeLists) -> bool:
    """Return whether a layer runs as one operator for rows of this precision."""
    neighbours = weights.neighbours
    if any(each.dtype != torch.float32 for each in (*weights, edges.floats)) or len(neighbours) == 0:
        return False
    device = neighbours.device.type
    if device not in ("cpu", "cuda", "meta") or neighbours.shape[1] not in KERNELS:
        return False
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    if device == "cuda":
        return not fallback_asked_for() and gpu.runs_on(neighbours.device)
    return device == "meta" or message_library() is not None


def kernel_messages(senders: Tensor, receivers: Tensor, weights: Weights, edges: EdgeLists, num_vectors: int) -> Tensor:
    """Return a layer's output [receiver, batch, latent] from senders [sender, batch, latent] and receivers alike.

    Where senders are receivers, pass one tensor twice. num_vectors: the first channels of a latent are eastward
    components, the next northward ones, which turn on each edge.
    """
    keep = torch.is_grad_enabled() and any(each.requires_grad for each in (senders, receivers, *weights))
    latent, hidden = senders.shape[-1], weights.own.shape[0]
    more = -latent % MULTIPLE, -hidden % MULTIPLE
    if any(more):
        same = receivers is senders
        senders = pad(senders, (0, more[0]))
        receivers = senders if same else pad(receivers, (0, more[0]))
        weights = weights.padded(*more)
    given = (each.contiguous() for each in weights)
    result, _ = torch.ops.meshcast.kernel_messages(senders, receivers, *given, *edges, num_vectors, keep)
    return result[..., :latent] if more[0] else result


class _Prepared:
    """A call of the library, and what must live as long as it."""

    def __init__(
        self,
        library: Library,
        rows: tuple[Tensor, Tensor],
        weights: Weights,
        edges: EdgeLists,
        vectors: int,
        back: bool,
    ) -> None:
        senders, receivers = rows
        sizes = Sizes(
            len(senders), len(receivers), *senders.shape[1:], len(weights.own), vectors, *weights.neighbours.shape[:2]
        )
        half = senders.dtype == torch.bfloat16
        matrices = weights.neighbours.data_ptr(), weights.own.data_ptr(), weights.out.data_ptr()
        packed = torch.empty(library.pack(sizes, half, matrices, back, None), dtype=torch.int32)
        library.pack(sizes, half, matrices, back, packed.data_ptr())
        self.kept = packed
        self.call = Call(
            sizes=sizes,
            table=edges.table.data_ptr(),
            integers=edges.integers.data_ptr(),
            floats=edges.floats.data_ptr(),
            senders=senders.data_ptr(),
            receivers=receivers.data_ptr(),
            weights=packed.data_ptr(),
            own_bias=weights.own_bias.data_ptr(),
            out_bias=weights.out_bias.data_ptr(),
            tile=_rows_of_tile(receivers, BACKWARD_ROWS if back else FORWARD_ROWS),
            threads=torch.get_num_threads(),
            half=half,
        )


def _forward(senders: Tensor, receivers: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    *given, num_vectors, keep = others
    weights, edges = Weights(*given[:5]), EdgeLists(*given[5:])
    library = message_library()
    assert library is not None, "is_fused asks whether there is a library"
    prepared = _Prepared(library, (senders, receivers), weights, edges, num_vectors, back=False)
    result, total = _empty_results(receivers, weights, keep)
    prepared.call.out, prepared.call.total = result.data_ptr(), total.data_ptr() if keep else None
    library.forward(prepared.call)
    return result, total


def _backward(gradient: Tensor, total: Tensor, senders: Tensor, receivers: Tensor, *others: Any) -> tuple[Tensor, ...]:
    *given, num_vectors = others
    weights, edges = Weights(*given[:5]), EdgeLists(*given[5:])
    library = message_library()
    assert library is not None, "the forward pass had a library"
    prepared = _Prepared(library, (senders, receivers), weights, edges, num_vectors, back=True)
    call, gradient = prepared.call, gradient.contiguous()
    same = _same_rows(senders, receivers)
    to_receivers = torch.empty_like(receivers)
    to_senders = to_receivers if same else torch.empty_like(senders)
    hidden_gradient = torch.empty_like(total)
    width = -(-2 * num_vectors // MULTIPLE) * MULTIPLE
    vectors_back = senders.new_empty(
        sum(edges.counts[: len(edges.table)]), senders.shape[1], weights.neighbours.shape[1], width
    )
    tiles = -(-receivers.shape[0] * receivers.shape[1] // call.tile)
    call.chunks = max(1, min(MOST_CHUNKS, tiles // CHUNK_TILES))
    chunks = torch.empty(call.chunks, sum(weight.numel() for weight in weights))
    gradients = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
    call.total, call.gradient = total.data_ptr(), gradient.data_ptr()
    call.own_gradient, call.sender_gradient = to_receivers.data_ptr(), to_senders.data_ptr()
    call.hidden_gradient, call.vectors_back = hidden_gradient.data_ptr(), vectors_back.data_ptr()
    call.sums_of_chunks = chunks.data_ptr()
    call.gradients[:] = [each.data_ptr() for each in gradients]
    library.backward(call)
    return to_senders, receivers.new_empty(0) if same else to_receivers, *gradients


def _forward_on_gpu(senders: Tensor, receivers: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    with torch.cuda.device_of(senders):  # Triton starts its kernels on the current one
        return gpu.forward(_layer(senders, receivers, *others[:-1]), keep=others[-1])


def _backward_on_gpu(
    gradient: Tensor, total: Tensor, senders: Tensor, receivers: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    same = _same_rows(senders, receivers)
    with torch.cuda.device_of(senders):
        return gpu.backward(_layer(senders, receivers, *others), gradient, total, same)


def _layer(senders: Tensor, receivers: Tensor, *others: Any) -> gpu.Layer:
    *given, num_vectors = others
    weights, edges = Weights(*given[:5]), EdgeLists(*given[5:])
    return gpu.Layer(senders, receivers, *weights, edges=edges, num_vectors=num_vectors)


def _same_rows(senders: Tensor, receivers: Tensor) -> bool:
    """Return whether both are one tensor; receivers may also be the first of the senders."""
    return senders.data_ptr() == receivers.data_ptr() and senders.shape == receivers.shape


def _rows_of_tile(receivers: Tensor, usual: int) -> int:
    """Return it from the sizes alone: sums of gradients must not depend on the number of threads."""
    return usual if receivers.shape[0] * receivers.shape[1] < MANY_ROWS else LARGE_TILE


def _empty_results(receivers: Tensor, weights: Weights, keep: bool) -> tuple[Tensor, Tensor]:
    """Return room for the output, and for what a gradient needs of it."""
    shape = (*receivers.shape[:2], len(weights.own)) if keep else (0,)
    return torch.empty_like(receivers), receivers.new_empty(shape)


def _forward_of_shapes(senders: Tensor, receivers: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return _empty_results(receivers, Weights(*others[:5]), others[-1])


def _backward_of_shapes(
    gradient: Tensor, total: Tensor, senders: Tensor, receivers: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    return torch.empty_like(senders), torch.empty_like(receivers), *(torch.empty_like(each) for each in others[:5])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.counts, ctx.num_vectors, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *tensors)


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.meshcast.kernel_messages_backward(gradient, *ctx.saved_tensors, ctx.counts, ctx.num_vectors)
    to_senders, to_receivers, *weights = found
    return to_senders, to_receivers if to_receivers.numel() else None, *weights, *(None,) * 6


for _name, _run, _run_on_gpu, _shapes in (
    ("meshcast::kernel_messages", _forward, _forward_on_gpu, _forward_of_shapes),
    ("meshcast::kernel_messages_backward", _backward, _backward_on_gpu, _backward_of_shapes),
):
    torch.library.impl(_name, "cpu", _run)
    torch.library.impl(_name, "cuda", _run_on_gpu)
    torch.library.register_fake(_name, _shapes)
torch.library.register_autograd("meshcast::kernel_messages", _gradients, setup_context=_save)
