"""What does not fit is refused before it is built, and the estimate is near what comes."""

import resource
from pathlib import Path

import numpy as np
import pytest

from graphs import available_memory as module
from graphs.available_memory import available_memory, held_memory, peak_memory, readable, refuse_too_large
from graphs.edges.build import (
    GraphConfig,
    HopEdges,
    MultiMeshEdges,
    NearestEdges,
    RadiusEdges,
    StencilEdges,
    build_graphs,
    estimate,
)
from graphs.edges.connect import within
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0 B"), (900, "900 B"), (1536, "1.5 KiB"), (3 * 2**20, "3 MiB"), (45 * 2**30, "45 GiB"), (9e15, "8 PiB")],
)
def test_bytes_are_readable(num_bytes: float, words: str) -> None:
    assert readable(num_bytes) == words


def test_some_memory_is_left_here() -> None:
    left = available_memory()
    assert left is None or left > 0


def test_what_does_not_fit_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 2**20)
    refuse_too_large(2**20, "A mesh", "Choose less.")
    with pytest.raises(MeshcastError, match=r"A mesh needs about 2 MiB .* but 1 MiB are left. Choose less."):
        refuse_too_large(2**21, "A mesh", "Choose less.")
    with pytest.raises(MeshcastError, match="icosphere of level 5, 10,242 nodes"):
        icosphere(5)
    with pytest.raises(MeshcastError, match=r"5,100 edges .*processor .* mesh"):
        build_graphs(GraphConfig(MultiMeshEdges()), icosphere(3))


def test_a_distance_that_joins_too_many_is_refused_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = icosphere(5)
    monkeypatch.setattr(module, "available_memory", lambda: 2**28)
    with pytest.raises(MeshcastError, match="Choose a smaller distance"):
        within(mesh, mesh, 5000e3)


def test_where_nothing_is_known_of_memory_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: None)
    refuse_too_large(10**30, "A mesh", "Choose less.")


GRID = latlon(np.linspace(87.5, -87.5, 36), np.arange(72) * 5.0)


@pytest.mark.parametrize(
    ("config", "mesh"),
    [
        (GraphConfig(MultiMeshEdges()), icosphere(3)),
        (GraphConfig(NearestEdges(neighbours=5)), icosphere(3)),
        (GraphConfig(RadiusEdges(distance=1100e3)), icosphere(3)),
        (GraphConfig(StencilEdges(radius=1)), GRID),
        (GraphConfig(HopEdges(hops=(1, 2))), ring(40)),
        (GraphConfig(MultiMeshEdges(), IcosphereMesh(level=3)), GRID),
        (GraphConfig(MultiMeshEdges(), IcosphereMesh(level=4)), GRID),
    ],
    ids=["multi-mesh", "nearest", "radius", "stencil", "hops", "coarser-mesh", "finer-mesh"],
)
def test_the_estimate_is_near_what_is_built(config: GraphConfig, mesh) -> None:
    graphs = build_graphs(config, mesh)
    expected = estimate(config, mesh.num_nodes)
    assert expected.num_nodes == graphs.processor.num_receivers
    assert expected.num_edges == pytest.approx(sum(graph.num_edges for graph in graphs.named().values()), rel=0.25)
    assert f"{expected.num_edges:,} edges" in expected.describe()


@pytest.mark.parametrize("level", [-1, 40])
def test_a_level_that_no_icosphere_has_gets_no_estimate(level: int) -> None:
    with pytest.raises(MeshcastError, match=f"level.*{level}"):
        estimate(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=level)), 100)


def test_mesh_and_edges_together_are_refused_before_the_mesh_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = estimate(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=5)), 2592)
    expected.refuse_too_large()
    monkeypatch.setattr(module, "available_memory", lambda: expected.num_bytes - 1)
    with pytest.raises(MeshcastError, match=r"about 10,242 nodes.* level"):
        expected.refuse_too_large()


def test_a_limit_of_the_process_counts_as_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    held = module._status("VmSize")
    if held is None:
        pytest.skip("only Linux counts it")
    limits = {resource.RLIMIT_AS: held + 2**20, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (limits[limit], resource.RLIM_INFINITY))
    left = available_memory()
    assert left is not None and left <= 2**20
    limits[resource.RLIMIT_AS] = resource.RLIM_INFINITY
    assert module._of_process() is None


def test_the_tightest_group_around_a_job_counts_and_files_may_go(tmp_path: Path) -> None:
    mine = tmp_path / "cgroup"
    mine.write_text("0::/slurm/job_7/task_0\n")
    for folder, limit, held, files in (
        ("slurm/job_7/task_0", "max", 10, 0),
        ("slurm/job_7", "1000", 900, 300),
        ("slurm", "5000", 4800, 100),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "memory.max").write_text(f"{limit}\n")
        (tmp_path / folder / "memory.current").write_text(f"{held}\n")
        (tmp_path / folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")
    assert module._of_container(tmp_path, mine) == 5000 - 4800 + 100
    (tmp_path / "slurm" / "memory.current").write_text("3000\n")
    assert module._of_container(tmp_path, mine) == 1000 - 900 + 300
    assert module._of_container(tmp_path / "absent", tmp_path / "none") is None


def test_the_peak_is_at_least_what_was_held_at_once() -> None:
    before = peak_memory()
    block = np.ones(2**23)  # 64 MiB
    assert peak_memory() >= held_memory() >= block.nbytes
    assert peak_memory() >= before
