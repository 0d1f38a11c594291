"""What a node receives of its surroundings, in one row: the same columns everywhere, so that weights can be shared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn

from emulator.baselines.neighbourhood import surroundings
from emulator.networks.layers.constants import constant
from graphs.edges.connect import nearest
from graphs.geometry import parallel_transport, tangent_displacement
from graphs.mesh import Mesh

NEIGHBOURS = 6  # of a node on a mesh of triangles, but for twelve
MOMENTS = 5  # of 1, cos θ, sin θ, cos 2θ, sin 2θ


class Surroundings(nn.Module):
    """[..., node, channel] to [..., node, num_received · channel]: a node's own values and those around it.

    On a ring and on a grid, values of the neighbour at every relative position within `radius`; see
    `emulator.baselines.neighbourhood.surroundings`. Elsewhere neighbours have no common order. So a node i receives
    itself and, of the n nodes exactly r hops away, r = 1 ... radius, their mean and angular moments over their bearing
    θ in its tangent frame, of which cos θ and sin θ give a gradient:

        (1/n) Σ_j h_j,   (√2/n) Σ_j (h_j - h_i) (cos θ_j, sin θ_j, cos 2θ_j, sin 2θ_j)

    Hops go along the sides of the mesh's faces; on a mesh without faces to the six nearest nodes. Winds are turned from
    the sender's east-north frame into the receiver's.

    winds: (eastward, northward) channels that are a vector.
    """

    def __init__(self, mesh: Mesh, radius: int, winds: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        if mesh.domain.kind == "ring" or mesh.structured:
            with torch.device("cpu"):  # also where the network is built on `meta`
                senders = surroundings(mesh, radius)[0].T.numpy()  # [node, position]
            moments = None
            self.num_received = senders.shape[1]
        else:
            senders, moments = angular_moments(mesh, radius)
            self.num_received = moments.shape[2]
        self.winds = tuple(winds) if mesh.domain.kind != "ring" else ()
        self.senders = constant(senders)
        self.moments = None if moments is None else constant(moments)
        if self.winds:
            cosine, sine = parallel_transport(mesh.positions[senders], mesh.positions[:, None])
            self.cosine, self.sine = constant(cosine), constant(sine)  # [node, position]

    def forward(self, values: Tensor) -> Tensor:
        node, position = self.senders.shape
        received = values.index_select(-2, self.senders.reshape(-1)).unflatten(-2, (node, position))
        if self.winds:
            cosine, sine = self.cosine.to(received.dtype), self.sine.to(received.dtype)
            columns = list(received.unbind(-1))
            for east, north in self.winds:  # in the receivers' frames
                u, v = columns[east], columns[north]
                columns[east], columns[north] = cosine * u - sine * v, sine * u + cosine * v
            received = torch.stack(columns, dim=-1)
        if self.moments is not None:
            received = torch.einsum("...npc,npm->...nmc", received, self.moments.to(received.dtype))
        return received.flatten(-2)


def angular_moments(mesh: Mesh, radius: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return senders [node, place] at most `radius` hops away, the node first, and what each counts in every moment
    [node, place, 1 + 5 · radius]. A place without a sender holds the node itself and counts nothing."""
    own, num_moments = np.arange(mesh.num_nodes), 1 + MOMENTS * radius
    first = np.zeros((mesh.num_nodes, 1, num_moments))
    first[:, 0, 0] = 1.0
    senders, moments = [own[:, None]], [first]
    for hop, (receivers, others) in enumerate(_nodes_by_hop(mesh, radius)):
        counts = np.bincount(receivers, minlength=mesh.num_nodes)
        place = np.arange(len(receivers)) - (np.cumsum(counts) - counts)[receivers]
        table = np.repeat(own[:, None], counts.max(initial=1), axis=1)
        table[receivers, place] = others
        east, north = tangent_displacement(mesh.positions[receivers], mesh.positions[others])
        bearing = np.arctan2(north, east)
        waves = [np.cos(bearing), np.sin(bearing), np.cos(2 * bearing), np.sin(2 * bearing)]
        columns = slice(1 + MOMENTS * hop, 1 + MOMENTS * (hop + 1))
        share = np.zeros((*table.shape, num_moments))
        share[receivers, place, columns] = np.stack([np.ones_like(bearing), *(np.sqrt(2.0) * w for w in waves)], axis=1)
        share /= np.maximum(counts, 1)[:, None, None]
        first[:, 0, columns.start + 1 : columns.stop] = -share[..., columns.start + 1 : columns.stop].sum(axis=1)
        senders.append(table)
        moments.append(share)  # less the node's own value, by its own moments
    return np.concatenate(senders, axis=1), np.concatenate(moments, axis=1)


def _nodes_by_hop(mesh: Mesh, radius: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the pairs (receiver, sender) so many hops apart and no fewer, 1 to `radius`, sorted by receiver."""
    if mesh.faces is not None:
        sides = np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    else:
        sides = nearest(mesh, mesh, min(NEIGHBOURS, mesh.num_nodes - 1)).numpy().T
    sides = np.concatenate([sides, sides[:, ::-1]])
    shape = (mesh.num_nodes, mesh.num_nodes)
    step = csr_array((np.ones(len(sides), dtype=np.int8), (sides[:, 0], sides[:, 1])), shape=shape).astype(bool)
    identity = csr_array((np.ones(mesh.num_nodes, dtype=bool), (np.arange(mesh.num_nodes),) * 2), shape=shape)
    within, rings = identity, []
    for _ in range(radius):
        wider = (within.astype(np.int64) @ (step + identity).astype(np.int64)).astype(bool)
        ring = (wider.astype(np.int8) - within.astype(np.int8)).tocsr()
        ring.eliminate_zeros()
        ring.sort_indices()
        receivers = np.repeat(np.arange(mesh.num_nodes), np.diff(ring.indptr))
        rings.append((receivers, ring.indices.astype(np.int64)))
        within = wider
    return rings
