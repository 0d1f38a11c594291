"""Kernel messages on a GPU: what message_kernel.cpp does with sums over edges, in Triton's language.

Rows are [node, batch, channel]. A program takes some rows of one octave: nodes that it reaches, or whose edges are its
own, each with its members. It gathers their neighbours for one kernel k and some channels at a time, and multiplies the
sums by the weights while they are in registers. No two programs write one number, so that results repeat to the bit.

Places in the table of `emulator.networks.message_kernel.edge_lists.EdgeLists`, in bytes, are divided by four.
"""

from __future__ import annotations

import triton
import triton.language as tl

TABLE = tl.constexpr(18)  # columns of the table
NOT, COSINE, SINE = tl.constexpr(-1), tl.constexpr(0), tl.constexpr(1)  # what of an edge's turn multiplies
EACH = tl.constexpr(6)  # neighbours that are asked for at once: those of a node of an icosphere


@triton.jit
def rows_of_octave(integers, table, octave, batch, first, SENDERS: tl.constexpr, ROWS: tl.constexpr):
    """Return rows from `first` on of those of an octave: whether there is one, its node, member and row of the sums."""
    at = table + octave * TABLE
    group = 14 if SENDERS else 11
    row = first + tl.arange(0, ROWS)
    inside = row < tl.load(at + group) * batch
    node = tl.load(integers + tl.load(at + group + 2) // 4 + row // batch, mask=inside, other=0)
    return inside, node.to(tl.int64), row % batch, tl.load(at + group + 1) * batch + row


@triton.jit
def edges_of_rows(integers, floats, table, octave, inside, node, SENDERS: tl.constexpr):
    """Return where the edges of rows begin, how many there are, and the lists of other nodes and of weights."""
    at = table + octave * TABLE + (6 if SENDERS else 2)
    start = integers + tl.load(at) // 4
    begin = tl.load(start + node, mask=inside, other=0)
    count = tl.load(start + node + 1, mask=inside, other=0) - begin
    return begin, count, integers + tl.load(at + 1) // 4, floats + tl.load(at + 2) // 4


@triton.jit
def received(
    values, others, weights, begin, count, member, batch, width, k, c,
    TURN: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Return the sums [ROWS, COLUMNS] of φ_k x over the edges of rows, for the columns c of x [node, batch, width].

    TURN: NOT, or COSINE or SINE to multiply by that of an edge's turn too.
    """
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    inside = (c < width)[None, :]
    for begun in range(0, tl.max(count, 0), EACH):
        for more in tl.static_range(EACH):
            live = begun + more < count
            edge = begin + begun + more
            other = tl.load(others + edge, mask=live, other=0).to(tl.int64)
            weight = weights + edge.to(tl.int64) * (K + 2)
            factor = tl.load(weight + k, mask=live, other=0.0)
            if TURN != NOT:
                factor *= tl.load(weight + K + TURN, mask=live, other=0.0)
            at = values + ((other * batch + member) * width)[:, None] + c[None, :]
            total += factor[:, None] * tl.load(at, mask=live[:, None] & inside, other=0.0).to(tl.float32)
    return total


@triton.jit
def quarter_turned(matrix, v, turned, step, mask):
    """Return the weights W of vectors' channels v, where they stand at matrix + v step, after a quarter turn: J' W.

    North's in place of east's, and minus east's in place of north's.
    """
    is_east = v < turned // 2
    of_partner = tl.load(matrix + tl.where(is_east, v + turned // 2, v - turned // 2) * step, mask=mask, other=0.0)
    return tl.where(is_east, of_partner, -of_partner)


@triton.jit
def messages(
    senders, neighbours, result, integers, floats, table, batch, channels, hidden, turned,
    K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HIDDEN: tl.constexpr, VECTORS: tl.constexpr,
):  # fmt: skip
    """Write Σ_k W_ok Σ_e φ_k(e) T_e x_j of the rows that each octave reaches, float32 [row of all octaves, hidden].

    A grid of tiles and octaves. neighbours: W [octave, kernel, channel, hidden] in the precision of the rows. turned:
    the channels of vectors, which VECTORS columns hold: W' T x = W' (cos x) + (W' J) (sin x), so that what an edge
    turns by is summed with it, and the quarter turn J is one of the weights.
    """
    octave, first = tl.program_id(1), tl.program_id(0) * ROWS
    inside, node, member, place = rows_of_octave(integers, table, octave, batch, first, False, ROWS)
    begin, count, others, weights = edges_of_rows(integers, floats, table, octave, inside, node, False)
    h = tl.arange(0, HIDDEN)
    some = (h < hidden)[None, :]
    total = tl.zeros([ROWS, HIDDEN], tl.float32)
    if tl.max(count, 0) > 0:
        for k in range(K):
            of_kernel = neighbours + (octave * K + k) * channels * hidden + h[None, :]
            if VECTORS:
                v = tl.arange(0, VECTORS)
                both = (v < turned)[:, None] & some
                of_turn = received(
                    senders, others, weights, begin, count, member, batch, channels, k, v, COSINE, K, ROWS, VECTORS
                )
                turned_weights = tl.load(of_kernel + v[:, None] * hidden, mask=both, other=0.0)
                total = tl.dot(of_turn.to(turned_weights.dtype), turned_weights, total, input_precision="ieee")
                of_turn = received(
                    senders, others, weights, begin, count, member, batch, channels, k, v, SINE, K, ROWS, VECTORS
                )
                turned_weights = quarter_turned(of_kernel, v[:, None], turned, hidden, both)
                total = tl.dot(of_turn.to(turned_weights.dtype), turned_weights, total, input_precision="ieee")
            for c0 in range(turned, channels, COLUMNS):
                c = c0 + tl.arange(0, COLUMNS)
                sums = received(
                    senders, others, weights, begin, count, member, batch, channels, k, c, NOT, K, ROWS, COLUMNS
                )
                matrix = tl.load(of_kernel + c[:, None] * hidden, mask=(c < channels)[:, None] & some, other=0.0)
                total = tl.dot(sums.to(matrix.dtype), matrix, total, input_precision="ieee")
    at = result + place.to(tl.int64)[:, None] * hidden + h[None, :]
    tl.store(at, total, mask=inside[:, None] & some)


@triton.jit
def messages_back(
    hidden_gradient, neighbours, result, integers, floats, table, batch, channels, hidden, turned,
    K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr, VECTORS: tl.constexpr,
):  # fmt: skip
    """Write Σ_k Σ_e φ_k(e) T_e' W_ok z_i of the senders of each octave, float32 [row of all octaves, channel].

    z [receiver, batch, hidden]: the gradient of what is under the nonlinearity. Vectors as in `messages`: T' W z is
    W (cos z) + (J' W) (sin z).
    """
    octave, first = tl.program_id(1), tl.program_id(0) * ROWS
    inside, node, member, place = rows_of_octave(integers, table, octave, batch, first, True, ROWS)
    begin, count, others, weights = edges_of_rows(integers, floats, table, octave, inside, node, True)
    c = tl.arange(0, CHANNELS)
    total = tl.zeros([ROWS, CHANNELS], tl.float32)
    if VECTORS:
        v = tl.arange(0, VECTORS)
        of_vectors = tl.zeros([ROWS, VECTORS], tl.float32)
    for h0 in range(0, hidden, COLUMNS):
        h = h0 + tl.arange(0, COLUMNS)
        some = (h < hidden)[:, None]
        for k in range(K):
            of_kernel = neighbours + (octave * K + k) * channels * hidden + h[:, None]
            sums = received(
                hidden_gradient, others, weights, begin, count, member, batch, hidden, k, h, NOT, K, ROWS, COLUMNS
            )
            matrix = tl.load(of_kernel + c[None, :] * hidden, mask=some & (c < channels)[None, :], other=0.0)
            total = tl.dot(sums.to(matrix.dtype), matrix, total, input_precision="ieee")
            if VECTORS:
                both = some & (v < turned)[None, :]
                of_turn = received(
                    hidden_gradient,
                    others,
                    weights,
                    begin,
                    count,
                    member,
                    batch,
                    hidden,
                    k,
                    h,
                    COSINE,
                    K,
                    ROWS,
                    COLUMNS,
                )
                turned_weights = tl.load(of_kernel + v[None, :] * hidden, mask=both, other=0.0)
                of_vectors = tl.dot(
                    of_turn.to(turned_weights.dtype), turned_weights, of_vectors, input_precision="ieee"
                )
                of_turn = received(
                    hidden_gradient, others, weights, begin, count, member, batch, hidden, k, h, SINE, K, ROWS, COLUMNS
                )
                turned_weights = quarter_turned(of_kernel, v[None, :], turned, hidden, both)
                of_vectors = tl.dot(
                    of_turn.to(turned_weights.dtype), turned_weights, of_vectors, input_precision="ieee"
                )
    at = result + place.to(tl.int64)[:, None] * channels
    tl.store(at + c[None, :], total, mask=inside[:, None] & ((c >= turned) & (c < channels))[None, :])
    if VECTORS:
        tl.store(at + v[None, :], of_vectors, mask=inside[:, None] & (v < turned)[None, :])


@triton.jit
def weights_back(
    senders, hidden_gradient, result, integers, floats, table, batch, channels, hidden, first_channel, columns, before,
    chunks, all_columns, TURN: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Write Σ_i (Σ_e φ_k(e) x_j) z_i over each chunk of an octave's rows, for some channels of x.

    A grid of chunks, of octaves by kernels, and of COLUMNS channels, `columns` from `first_channel` on. result: float32
    [chunk, octave, kernel, all_columns, hidden], where they stand from `before` on. TURN as in `received`.
    """
    chunk, octave, k = tl.program_id(0), tl.program_id(1) // K, tl.program_id(1) % K
    mine, h = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, HIDDEN)
    c = first_channel + mine
    rows = tl.load(table + octave * TABLE) * batch
    tiles = tl.cdiv(tl.cdiv(rows, ROWS), chunks).to(tl.int32)  # of a chunk
    total = tl.zeros([COLUMNS, HIDDEN], tl.float32)
    for tile in range(chunk * tiles, tl.minimum((chunk + 1) * tiles, tl.cdiv(rows, ROWS).to(tl.int32))):
        inside, node, member, _ = rows_of_octave(integers, table, octave, batch, tile * ROWS, False, ROWS)
        begin, count, others, weights = edges_of_rows(integers, floats, table, octave, inside, node, False)
        sums = received(senders, others, weights, begin, count, member, batch, channels, k, c, TURN, K, ROWS, COLUMNS)
        at = hidden_gradient + ((node * batch + member) * hidden)[:, None] + h[None, :]
        z = tl.load(at, mask=inside[:, None] & (h < hidden)[None, :], other=0.0)
        total = tl.dot(tl.trans(sums.to(z.dtype)), z, total, input_precision="ieee")
    octaves = tl.num_programs(1) // K
    matrix = ((chunk.to(tl.int64) * octaves + octave) * K + k) * all_columns + before + mine
    at = result + matrix[:, None] * hidden + h[None, :]
    tl.store(at, total, mask=(mine < columns)[:, None] & (h < hidden)[None, :])


@triton.jit
def collected(
    own, parts, result, activated, integers, table, rows, batch, width,
    OCTAVES: tl.constexpr, SENDERS: tl.constexpr, ACTIVATE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write own [row, width] plus each row's part of every octave that has it, and SiLU of that if ACTIVATE."""
    row, c = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    node, member = row // batch, row % batch
    inside = (row < rows)[:, None] & (c < width)[None, :]
    at = row.to(tl.int64)[:, None] * width + c[None, :]
    total = tl.load(own + at, mask=inside, other=0.0).to(tl.float32)
    for octave in tl.static_range(OCTAVES):
        of_octave = table + octave * TABLE
        places = integers + tl.load(of_octave + (17 if SENDERS else 1)) // 4
        place = tl.load(places + node, mask=row < rows, other=-1)
        part = (tl.load(of_octave + (15 if SENDERS else 12)) + place) * batch + member
        total += tl.load(parts + part[:, None] * width + c[None, :], mask=inside & (place >= 0)[:, None], other=0.0)
    tl.store(result + at, total, mask=inside)
    if ACTIVATE:
        tl.store(activated + at, total * tl.sigmoid(total), mask=inside)


@triton.jit
def silu_back(gradient, total, activated, result, numbers, COLUMNS: tl.constexpr):
    """Write SiLU of `total` and, from the gradient of that, its own."""
    at = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside = at < numbers
    x = tl.load(total + at, mask=inside, other=0.0).to(tl.float32)
    share = tl.sigmoid(x)
    tl.store(activated + at, x * share, mask=inside)
    slope = share * (1.0 + x * (1.0 - share))
    tl.store(result + at, tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32) * slope, mask=inside)
