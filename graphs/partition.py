"""One graph over several processes: which nodes each of them computes, and which it hears of the others.

The nodes are cut along Hilbert's curve into as many shards of about equal work. The nodes of other shards that its
receivers hear are a shard's halo. With its own nodes and the halo as senders, and its own nodes as receivers, it is an
ordinary bipartite graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh
from graphs.space_filling import hilbert_order

Index = NDArray[np.int64]
NODE_WORK = 8  # of a receiver, in units of an edge's: its products with weights cost more than the sums over its edges


@dataclass(frozen=True)
class Shard:
    """One of the shards of a graph: `number` of `count`, from 0."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise MeshcastError(f"A graph over {self.count} processes has shards 0 to {self.count - 1}, not {self}.")

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"


@dataclass(frozen=True, eq=False)
class Division:
    """The nodes of one mesh, divided among shards.

    owner: [node] the shard that computes each node.
    order: [node] the nodes shard after shard; in each first the interior ones, which hear nodes of their own shard
        alone, then those at the rim, either along the curve.
    sizes: [shard] numbers of nodes; interiors: [shard] numbers of interior ones.
    """

    owner: Index
    order: Index
    sizes: tuple[int, ...]
    interiors: tuple[int, ...]

    def nodes(self, shard: int) -> Index:
        """Return the nodes of a shard, in the order in which it holds them."""
        first = sum(self.sizes[:shard])
        return self.order[first : first + self.sizes[shard]]

    def places(self) -> Index:
        """Return where each node stands among those of its shard [node]."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(self.order))
        sizes = np.array(self.sizes, dtype=np.int64)
        firsts: Index = np.cumsum(sizes) - sizes
        return place - firsts[self.owner]


@dataclass(frozen=True, eq=False)
class Halo:
    """What a shard hears of the others over the edges of one graph, and what these hear of it.

    nodes: [halo] senders of other shards, each once, shard after shard and in order of their number.
    received: [shard] how many of them come from each shard.
    sending: the places of its own nodes that others hear, for shard after shard, in the order of their halos.
    sent: [shard] how many go to each.
    """

    nodes: Index
    received: tuple[int, ...]
    sending: Index
    sent: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Ends:
    """The numbers that the ends of some edges of a graph have in a shard.

    senders, receivers: [node of the whole] its number, -1 where it is not among them.
    num_senders, num_receivers: of the graph that these edges are.
    """

    senders: Index
    receivers: Index
    num_senders: int
    num_receivers: int


@dataclass(frozen=True, eq=False)
class ShardEdges:
    """The edges of one graph that a shard's receivers hear over, in two graphs.

    interior: from all of its own nodes to the interior ones. rim: from the nodes of `near` and, behind them, the halo,
        to those at the rim.
    near: the places of its own nodes that a node at the rim hears.
    """

    interior: Ends
    rim: Ends
    near: Index
    halo: Halo


@dataclass(frozen=True, eq=False)
class Partition:
    """The nodes of a network's graphs, divided: of the grid, where data live, and of the mesh, where messages pass."""

    count: int
    grid: Division
    mesh: Division

    def sides(self, name: str) -> tuple[Division, Division]:
        """Return the divisions of the senders and of the receivers of a graph, by its name in `ModelGraphs`."""
        return self.grid if name == "encoder" else self.mesh, self.grid if name == "decoder" else self.mesh

    def edges(self, name: str, graph: Graph, shard: int) -> ShardEdges:
        """Return a shard's portion of a graph of these nodes."""
        from_, to = self.sides(name)
        senders, receivers = (row.cpu().numpy() for row in graph.edge_index)
        sender_owner, receiver_owner = from_.owner[senders], to.owner[receivers]
        mine, others = receiver_owner == shard, sender_owner != shard
        sender_place, receiver_place = from_.places(), to.places()

        heard = [np.unique(senders[mine & (sender_owner == other)]) for other in range(self.count)]
        heard[shard] = heard[shard][:0]
        told = [np.unique(senders[~others & (receiver_owner == other)]) for other in range(self.count)]
        told[shard] = told[shard][:0]
        halo = Halo(np.concatenate(heard), _lengths(heard), sender_place[np.concatenate(told)], _lengths(told))
        own, interior = from_.sizes[shard], to.interiors[shard]
        at_rim = mine & (receiver_place[receivers] >= interior)
        near = np.unique(sender_place[senders[at_rim & ~others]])
        return ShardEdges(
            Ends(
                _numbers(len(sender_place), from_.nodes(shard)),
                _numbers(len(receiver_place), to.nodes(shard)[:interior]),
                own,
                interior,
            ),
            Ends(
                _numbers(len(sender_place), np.concatenate([from_.nodes(shard)[near], halo.nodes])),
                _numbers(len(receiver_place), to.nodes(shard)[interior:]),
                len(near) + len(halo.nodes),
                to.sizes[shard] - interior,
            ),
            near,
            halo,
        )


def partition(graphs: ModelGraphs, grid: Mesh, count: int, rounds: int = 1) -> Partition:
    """Return the nodes of a network's graphs, divided into shards of about equal work.

    Grid and mesh are cut at the same places of one curve, so that few edges between them lead from shard to shard.

    grid: where data live. rounds: of messages over the processor's edges.
    Raises MeshcastError where a shard would have no node.
    """
    hidden = graphs.mesh
    meshes = [grid] if hidden is None else [grid, hidden]
    first = np.cumsum([0, *(mesh.num_nodes for mesh in meshes)])
    work = np.ones(first[-1])
    for name, graph in graphs.named().items():
        start = first[0 if hidden is None or name == "decoder" else 1]
        times = rounds if name == "processor" else 1
        work[start : start + graph.num_receivers] += times * (NODE_WORK + graph.in_degrees.cpu().numpy())
    curve = hilbert_order(np.concatenate([mesh.positions for mesh in meshes]))
    done = np.cumsum(work[curve])
    owner = np.empty(len(curve), dtype=np.int64)
    owner[curve] = np.minimum((done - work[curve] / 2) / done[-1] * count, count - 1).astype(np.int64)
    along = np.empty_like(curve)
    along[curve] = np.arange(len(curve))

    owners = np.split(owner, first[1:-1])
    for mesh, of_mesh in zip(meshes, owners, strict=True):
        if empty := sorted(set(range(count)) - set(of_mesh.tolist())):
            raise MeshcastError(
                f"A {mesh.describe()} cannot be split over {count} processes: shard {empty[0]} would have no node. "
                "Split it over fewer, with fewer training.shards or --shards, or choose a finer mesh."
            )
    inside = [np.ones(mesh.num_nodes, dtype=bool) for mesh in meshes]
    for name, graph in graphs.named().items():
        senders, receivers = (row.cpu().numpy() for row in graph.edge_index)
        sender_side, receiver_side = (0 if name == "encoder" else -1), (0 if name == "decoder" else -1)
        crossing = owners[sender_side][senders] != owners[receiver_side][receivers]
        inside[receiver_side][receivers[crossing]] = False
    divisions = [_divided(*each, count) for each in zip(owners, inside, np.split(along, first[1:-1]), strict=True)]
    return Partition(count, divisions[0], divisions[-1])


def _divided(owner: Index, inside: NDArray[np.bool_], along: Index, count: int) -> Division:
    order = np.lexsort((along, ~inside, owner))
    sizes, interiors = (np.bincount(some, minlength=count) for some in (owner, owner[inside]))
    return Division(owner, order, tuple(sizes.tolist()), tuple(interiors.tolist()))


def _numbers(count: int, nodes: Index) -> Index:
    """Return the place of each of `count` nodes in a list, -1 where it is not there."""
    place = np.full(count, -1)
    place[nodes] = np.arange(len(nodes))
    return place


def _lengths(parts: Sequence[Index]) -> tuple[int, ...]:
    return tuple(len(part) for part in parts)
