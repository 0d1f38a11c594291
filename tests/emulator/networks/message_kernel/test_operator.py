"""The operator of kernel messages: the same function as sparse products, in every instruction set of this machine."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from emulator.foundation.threads import num_threads
from emulator.networks.layers.angular_kernels import AngularKernelLayer, AngularKernels
from emulator.networks.message_kernel.edge_lists import EdgeLists
from emulator.networks.message_kernel.library import FALLBACK, NAMES, message_library, using
from emulator.networks.message_kernel.operator import Weights, kernel_messages
from graphs.edges.build import GraphConfig, MultiMeshEdges, NearestEdges, TriangleEdges, build_graphs
from graphs.graph import Graph
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon

pytestmark = pytest.mark.skipif(message_library() is None, reason="there is no C++ compiler")


def available() -> list[str]:
    """The instruction sets that this machine runs: `using` a better one than it has gives the best it has."""
    found = []
    for name in NAMES:
        with using(name):
            library = message_library()
        if library is not None and library.name == name:
            found.append(name)
    return found


def multi_mesh(level: int = 2) -> Graph:
    return build_graphs(GraphConfig(MultiMeshEdges()), icosphere(level)).processor


def shuffled(graph: Graph) -> Graph:
    """The same graph with nodes in an order in which no octave reaches the first ones."""
    place = torch.randperm(graph.num_receivers, generator=torch.Generator().manual_seed(3))
    return graph.renumbered(place, place)


def encoder() -> Graph:
    """From a grid to a coarser mesh: other senders than receivers, edges with weights."""
    config = GraphConfig(
        MultiMeshEdges(), mesh=IcosphereMesh(level=1), encoder=NearestEdges(neighbours=3), decoder=TriangleEdges()
    )
    graph = build_graphs(config, latlon([60.0, 20.0, -20.0, -60.0], list(range(0, 360, 30)))).encoder
    assert graph is not None
    return graph


def half_reached() -> Graph:
    """A graph in which half of the receivers have no edge at all."""
    graph = multi_mesh()
    kept = graph.receivers % 2 == 0
    return Graph(graph.edge_index[:, kept], graph.edge_features[kept], 162, 162, graph.feature_names)


GRAPHS = {"multi-mesh": multi_mesh, "no leading nodes": lambda: shuffled(multi_mesh()), "half": half_reached}
SIZES = {  # latent, hidden, vectors, harmonics, batch
    "64": (64, 64, 8, 2, 3),
    "unequal": (32, 48, 4, 2, 1),
    "vectors across a register": (96, 64, 12, 2, 2),
    "odd": (37, 20, 4, 2, 5),
    "no vectors": (16, 16, 0, 2, 2),
    "all vectors": (32, 16, 16, 1, 2),
    "three harmonics": (32, 32, 4, 3, 2),
}


@dataclass
class Case:
    graph: Graph
    kernels: AngularKernels
    layer: AngularKernelLayer
    senders: Tensor
    receivers: Tensor
    gradient: Tensor

    def run(self, library: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[Tensor]:
        """Return the layer's output, then the gradients of senders, receivers and weights, computed on a device."""
        double = dtype == torch.float64
        layer, kernels = (each.to(device) for each in copy.deepcopy((self.layer, self.kernels)))
        if double:
            layer, kernels = layer.double(), kernels.double()
        senders, receivers = (
            each.to(device, torch.float64 if double else torch.float32).detach().requires_grad_()
            for each in (self.senders, self.receivers)
        )
        receivers = senders if self.receivers is self.senders else receivers
        with using(library):
            with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
                output = layer(kernels, senders, receivers)
            output.backward(self.gradient.to(output))
        gradients = (each.grad for each in (senders, receivers, *layer.parameters()) if each.grad is not None)
        return [each.detach().cpu() for each in (output, *gradients)]


def case(graph: Graph, latent: int, hidden: int, vectors: int, harmonics: int, batch: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    kernels = AngularKernels(graph, harmonics, vectors)
    senders = torch.randn(batch, graph.num_senders, latent, generator=generator)
    receivers = senders
    if graph.num_receivers != graph.num_senders:
        receivers = torch.randn(batch, graph.num_receivers, latent, generator=generator)
    gradient = torch.randn(batch, graph.num_receivers, latent, generator=generator)
    return Case(graph, kernels, AngularKernelLayer(latent, kernels, hidden), senders, receivers, gradient)


def errors(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    """Return the largest error of each tensor over its largest number."""
    pairs = [(one.double(), other.double()) for one, other in zip(found, expected, strict=True)]
    return [float((one - other).abs().max() / other.abs().max().clamp_min(1e-300)) for one, other in pairs]


def assert_equal_to(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    assert all(error <= tolerance for error in errors(found, expected))


@pytest.fixture(params=available())
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    with using(request.param):
        yield request.param


@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_output_and_gradients_are_those_of_sparse_products(library: str, sizes: tuple[int, ...]) -> None:
    one = case(multi_mesh(), *sizes)
    expected = one.run(FALLBACK, torch.float64)
    assert_equal_to(one.run(library), expected, 1e-6)
    assert_equal_to(one.run(library, torch.bfloat16), expected, 2e-2)


@pytest.mark.parametrize("graph", [*GRAPHS.values(), encoder], ids=[*GRAPHS, "encoder"])
def test_any_graph_has_the_output_and_gradients_of_sparse_products(library: str, graph: object) -> None:
    one = case(graph(), 48, 32, 6, 2, 4)  # type: ignore[operator]
    expected = one.run(FALLBACK, torch.float64)
    assert_equal_to(one.run(library), expected, 1e-6)
    assert_equal_to(one.run(library, torch.bfloat16), expected, 2e-2)


def test_equal_tensors_for_senders_and_receivers_are_two_inputs(library: str) -> None:
    """Their gradients stay apart, though the numbers are the same."""
    one = case(multi_mesh(), 16, 16, 2, 2, 2)
    together = one.run(library)
    one.receivers = one.senders.clone()
    apart = one.run(library)
    torch.testing.assert_close(apart[0], together[0])
    torch.testing.assert_close(apart[1] + apart[2], together[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_results_repeat_to_the_bit_on_any_number_of_threads(library: str, dtype: torch.dtype) -> None:
    one = case(multi_mesh(4), 32, 32, 4, 2, 5)  # enough rows for several chunks of the largest tiles
    with num_threads(1):
        expected = one.run(library, dtype)
    for threads in (1, 2, 3, 7):
        with num_threads(threads):
            found = one.run(library, dtype)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), threads


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_member_is_the_same_alone_and_among_others(library: str, dtype: torch.dtype) -> None:
    one = case(multi_mesh(3), 64, 64, 8, 2, 7)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        together = one.layer(one.kernels, one.senders, one.senders)
        for member in range(7):
            alone = one.senders[member : member + 1].contiguous()
            assert torch.equal(one.layer(one.kernels, alone, alone), together[member : member + 1])


def test_products_of_pytorch_in_between_change_nothing(library: str) -> None:
    """Where the processor has AMX both set its tiles up, each as it needs them."""
    one = case(multi_mesh(), 48, 32, 6, 2, 4)
    expected = one.run(library, torch.bfloat16)
    left, right = torch.randn(130, 70).bfloat16(), torch.randn(70, 50).bfloat16()
    product = left @ right
    for _ in range(3):
        assert_equal_to(one.run(library, torch.bfloat16), expected, 0.0)
        assert torch.equal(left @ right, product)


def test_strided_rows_and_weights_are_taken_as_they_are(library: str) -> None:
    one = case(multi_mesh(), 16, 16, 2, 2, 2)
    expected = one.run(library)
    one.senders = one.receivers = one.senders.repeat_interleave(2, dim=2)[..., ::2]
    one.gradient = one.gradient.repeat_interleave(2, dim=1)[:, ::2]
    assert_equal_to(one.run(library), expected, 0.0)


def test_it_keeps_no_more_than_what_is_under_the_nonlinearity(library: str) -> None:
    one = case(multi_mesh(), 32, 48, 4, 2, 2)
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(tuple(t.shape)), t)[1], lambda t: t):
        sent = one.senders.transpose(0, 1).contiguous().requires_grad_()
        one.layer.nodewise(one.kernels, sent, sent)
    assert [shape for shape in kept if len(shape) == 3] == [(162, 2, 48), (162, 2, 32), (162, 2, 32)]  # rows twice


def test_a_copy_and_a_pickle_give_the_same(library: str) -> None:
    one = case(multi_mesh(), 16, 16, 2, 2, 2)
    expected = one.layer(one.kernels, one.senders, one.senders)
    for kernels, layer in (
        copy.deepcopy((one.kernels, one.layer)),
        pickle.loads(pickle.dumps((one.kernels, one.layer))),
    ):
        assert torch.equal(layer(kernels, one.senders, one.senders), expected)


def test_the_operator_is_what_pytorch_expects_of_one() -> None:
    one = case(multi_mesh(1), 16, 16, 2, 2, 2)
    layer, kernels = one.layer, one.kernels
    rows = one.senders.transpose(0, 1).contiguous().requires_grad_()
    weights, edges = layer.weights, kernels.edges
    given = (rows, rows.detach().clone().requires_grad_(), *weights, *edges, 2, True)
    torch.library.opcheck(torch.ops.meshcast.kernel_messages, given, atol=1e-4, rtol=1e-4)
    meta = [each.to("meta") for each in (rows, *weights, *edges[:3])]
    shape = kernel_messages(meta[0], meta[0], Weights(*meta[1:6]), EdgeLists(*meta[6:], edges.counts), 2)
    assert shape.is_meta and shape.shape == rows.shape


def test_double_precision_and_other_numbers_of_harmonics_go_by_sparse_products() -> None:
    one = case(multi_mesh(1), 16, 16, 2, 4, 1)
    with using(FALLBACK):
        expected = one.layer(one.kernels, one.senders, one.senders)
    assert torch.equal(one.layer(one.kernels, one.senders, one.senders), expected)
    double = case(multi_mesh(1), 16, 16, 2, 2, 1).run(NAMES[0], torch.float64)
    assert {each.dtype for each in double} == {torch.float64}


def test_what_is_no_number_stays_none_and_spreads_to_neighbours_alone(library: str) -> None:
    one = case(multi_mesh(), 32, 32, 4, 2, 2)
    one.senders[1, 5, 7] = float("nan")
    with torch.no_grad():
        output = one.layer(one.kernels, one.senders, one.senders)
    reached = torch.zeros(162, dtype=torch.bool)
    reached[one.graph.receivers[one.graph.senders == 5]] = True
    reached[5] = True
    assert torch.equal(output[1].isnan().any(dim=1), reached)
    assert not output[0].isnan().any()
