"""The layer of kernel messages as an operator of PyTorch, `torch.ops.meshcast.kernel_messages`, with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from emulator.networks.message_kernel.library import Call, Library, Sizes, message_library

FORWARD_ROWS, BACKWARD_ROWS = 96, 192  # of a tile; a tile's sums stay in the cache of a core
CHUNK_TILES, MOST_CHUNKS = 6, 16  # gradients of weights are summed chunk by chunk, whatever the number of threads
KERNELS = (3, 5, 7)  # the numbers of kernels that message_kernel.cpp is compiled for
MULTIPLE = 16  # channels and hidden features come in multiples of it

torch.library.define(
    "meshcast::kernel_messages",
    "(Tensor senders, Tensor receivers, Tensor neighbours, Tensor own_weight, Tensor own_bias, Tensor out_weight, "
    "Tensor out_bias, Tensor places, Tensor edge_weights, Tensor table, int num_vectors, bool keep) "
    "-> (Tensor, Tensor)",
)
torch.library.define(
    "meshcast::kernel_messages_backward",
    "(Tensor gradient, Tensor total, Tensor senders, Tensor receivers, Tensor neighbours, Tensor own_weight, "
    "Tensor own_bias, Tensor out_weight, Tensor out_bias, Tensor places, Tensor edge_weights, Tensor table, "
    "int num_vectors) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def is_fused(dtype: torch.dtype, edge_weights: Tensor, neighbours: Tensor) -> bool:
    """Return whether kernel messages of this precision run in one pass.

    edge_weights: in single precision unless their module was cast. neighbours: [octave, kernel, latent, hidden].
    """
    if edge_weights.dtype != torch.float32 or neighbours.dtype != torch.float32 or len(neighbours) == 0:
        return False
    if neighbours.device.type not in ("cpu", "meta") or neighbours.shape[1] not in KERNELS:
        return False
    return dtype in (torch.float32, torch.bfloat16) and (neighbours.is_meta or message_library() is not None)


def kernel_messages(
    senders: Tensor, receivers: Tensor, weights: tuple[Tensor, ...], places: Tensor, edge_weights: Tensor, table: Tensor,
    num_vectors: int,
) -> Tensor:  # fmt: skip
    """Return a layer's output [receiver, batch, latent] from senders [sender, batch, latent] and receivers alike.

    weights: neighbours [octave, kernel, latent, hidden], then weight and bias of the two linear maps.
    places, edge_weights, table: as `edge_lists` returns them.
    """
    keep = torch.is_grad_enabled() and any(each.requires_grad for each in (senders, receivers, *weights))
    latent, hidden = senders.shape[-1], weights[0].shape[-1]
    to_latent, to_hidden = -latent % MULTIPLE, -hidden % MULTIPLE
    if to_latent or to_hidden:
        same = receivers is senders
        senders = pad(senders, (0, to_latent))
        receivers = senders if same else pad(receivers, (0, to_latent))
        neighbours, own, own_bias, out, out_bias = weights
        weights = (
            pad(neighbours, (0, to_hidden, 0, to_latent)),
            pad(own, (0, to_latent, 0, to_hidden)),
            pad(own_bias, (0, to_hidden)),
            pad(out, (0, to_hidden, 0, to_latent)),
            pad(out_bias, (0, to_latent)),
        )
    result, _ = torch.ops.meshcast.kernel_messages(
        senders, receivers, *(each.contiguous() for each in weights), places, edge_weights, table, num_vectors, keep
    )
    return result[..., :latent] if to_latent else result


class _Prepared:
    """A call of the library, and what must live as long as it."""

    def __init__(
        self, library: Library, senders: Tensor, receivers: Tensor, weights: tuple[Tensor, ...], edges: tuple[Any, ...],
        back: bool,
    ) -> None:  # fmt: skip
        neighbours, own, own_bias, out, out_bias = weights
        places, edge_weights, table, num_vectors = edges
        half = senders.dtype == torch.bfloat16
        sizes = Sizes(
            len(senders), len(receivers), senders.shape[1], senders.shape[2], len(own), num_vectors, *neighbours.shape[:2]
        )
        octaves = table.clone()
        integers, floats = places.data_ptr(), edge_weights.data_ptr()
        octaves[:, 1:] += torch.tensor([integers] * 3 + [floats] + [integers] * 3 + [floats])
        given = neighbours.data_ptr(), own.data_ptr(), out.data_ptr()
        packed = torch.empty(library.pack(sizes, half, given, back, None), dtype=torch.int32)
        library.pack(sizes, half, given, back, packed.data_ptr())
        self.kept = octaves, packed
        self.call = Call(
            sizes=sizes, octaves=octaves.data_ptr(), senders=senders.data_ptr(), receivers=receivers.data_ptr(),
            weights=packed.data_ptr(), own_bias=own_bias.data_ptr(), out_bias=out_bias.data_ptr(),
            tile=BACKWARD_ROWS if back else FORWARD_ROWS, threads=torch.get_num_threads(), half=half,
        )  # fmt: skip


def _forward(
    senders: Tensor, receivers: Tensor, neighbours: Tensor, own: Tensor, own_bias: Tensor, out: Tensor, out_bias: Tensor,
    places: Tensor, edge_weights: Tensor, table: Tensor, num_vectors: int, keep: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    library = message_library()
    assert library is not None, "the caller asks whether there is a library"
    weights = neighbours, own, own_bias, out, out_bias
    prepared = _Prepared(library, senders, receivers, weights, (places, edge_weights, table, num_vectors), False)
    result = torch.empty_like(receivers)
    total = receivers.new_empty((*receivers.shape[:2], len(own)) if keep else (0,))
    prepared.call.out, prepared.call.total = result.data_ptr(), total.data_ptr() if keep else 0
    library.forward(prepared.call)
    return result, total


def _backward(
    gradient: Tensor, total: Tensor, senders: Tensor, receivers: Tensor, neighbours: Tensor, own: Tensor,
    own_bias: Tensor, out: Tensor, out_bias: Tensor, places: Tensor, edge_weights: Tensor, table: Tensor,
    num_vectors: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    library = message_library()
    assert library is not None, "the caller asks whether there is a library"
    weights = neighbours, own, own_bias, out, out_bias
    prepared = _Prepared(library, senders, receivers, weights, (places, edge_weights, table, num_vectors), True)
    call = prepared.call
    gradient = gradient.contiguous()
    same = senders.data_ptr() == receivers.data_ptr()
    to_receivers = torch.empty_like(receivers)
    to_senders = to_receivers if same else torch.empty_like(senders)
    call.total, call.gradient = total.data_ptr(), gradient.data_ptr()
    call.own_gradient, call.sender_gradient = to_receivers.data_ptr(), to_senders.data_ptr()
    hidden = torch.empty_like(total)
    turned = -(-2 * num_vectors // MULTIPLE) * MULTIPLE
    vectors = senders.new_empty(int(table[:, 0].sum()) * senders.shape[1] * neighbours.shape[1] * turned)
    call.hidden_gradient, call.vectors_back = hidden.data_ptr(), vectors.data_ptr()
    tiles = -(-receivers.shape[0] * receivers.shape[1] // BACKWARD_ROWS)
    call.chunks = max(1, min(MOST_CHUNKS, tiles // CHUNK_TILES))
    gradients = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
    chunks = torch.empty(call.chunks, sum(weight.numel() for weight in weights))
    call.sums_of_chunks = chunks.data_ptr()
    call.gradients[:] = [each.data_ptr() for each in gradients]
    library.backward(call)
    return to_senders, receivers.new_empty(0) if same else to_receivers, *gradients


def _fake_forward(senders: Tensor, receivers: Tensor, neighbours: Tensor, own: Tensor, *others: Any) -> Any:
    keep = others[-1]
    return torch.empty_like(receivers), receivers.new_empty((*receivers.shape[:2], len(own)) if keep else (0,))


def _fake_backward(gradient: Tensor, total: Tensor, senders: Tensor, receivers: Tensor, *others: Any) -> Any:
    return torch.empty_like(senders), torch.empty_like(receivers), *(torch.empty_like(each) for each in others[:5])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.num_vectors, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *tensors)


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    total, *tensors = ctx.saved_tensors
    to_senders, to_receivers, *weights = torch.ops.meshcast.kernel_messages_backward(
        gradient, total, *tensors, ctx.num_vectors
    )
    return to_senders, to_receivers if to_receivers.numel() else None, *weights, None, None, None, None, None


torch.library.impl("meshcast::kernel_messages", "cpu", _forward)
torch.library.impl("meshcast::kernel_messages_backward", "cpu", _backward)
torch.library.register_fake("meshcast::kernel_messages", _fake_forward)
torch.library.register_fake("meshcast::kernel_messages_backward", _fake_backward)
torch.library.register_autograd("meshcast::kernel_messages", _gradients, setup_context=_save)
