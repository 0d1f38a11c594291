"""The message kernel's library: compiled once, whole or not at all, and done without where it cannot be."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.networks.message_kernel import compilation
from tests.time_limits import HUNG

ROOT = Path(__file__).resolve().parents[4]
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
LAYER = """
import torch
from emulator.networks.layers.angular_kernels import AngularKernelLayer, AngularKernels
from emulator.networks.message_kernel.library import message_library
from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
from graphs.meshes.icosphere import icosphere
torch.manual_seed(0)
kernels = AngularKernels(build_graphs(GraphConfig(MultiMeshEdges()), icosphere(1)).processor, 2, 2)
layer, x = AngularKernelLayer(16, kernels, 16), torch.randn(1, 42, 16)
library = message_library()
print(library.name if library else None, *layer(kernels, x, x).flatten().tolist())
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
        check=False, timeout=HUNG,
    )  # fmt: skip


@needs_compiler
def test_two_processes_compile_one_library_and_leave_nothing_else(tmp_path: Path) -> None:
    code = (
        f"from emulator.networks.message_kernel.compilation import *; print(compile_library(Path({str(tmp_path)!r})))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in (1, 2)]
    said = [process.communicate(timeout=HUNG)[0].strip() for process in both]
    library = tmp_path / compilation.library_name()
    assert said == [str(library)] * 2
    assert {path.name for path in tmp_path.iterdir()} == {library.name, f"{library.name}.lock"}
    assert ctypes.CDLL(str(library)).meshcast_isa() in compilation.instruction_sets()


@needs_compiler
def test_an_instruction_set_that_the_compiler_does_not_know_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "instruction_sets", lambda: {0: (), 2: ("-mno-such-instructions",)})
    library = ctypes.CDLL(str(compilation.compile_library(tmp_path)))
    assert hasattr(library, "meshcast_forward_0") and not hasattr(library, "meshcast_forward_2")


def test_without_a_compiler_it_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(OSError, match="no C\\+\\+ compiler was found"):
        compilation.compile_library(tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho this compiler is out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(OSError, match="out of order"):
        compilation.compile_library(tmp_path / "cache")


@needs_compiler
def test_a_machine_without_compiler_gives_the_same_output_and_says_why(tmp_path: Path) -> None:
    """Nothing in the cache and no compiler on the path, against this machine's best."""
    bare = run(LAYER, XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path), CXX="")
    assert bare.returncode == 0, bare.stderr
    if (compilation.HERE / compilation.library_name()).is_file():
        pytest.skip("the library came with the package")
    usual = run(LAYER)
    assert usual.returncode == 0, usual.stderr
    (without, *expected), (library, *found) = bare.stdout.split(), usual.stdout.split()
    assert without == "None" and library != "None"
    assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], rel=1e-5, abs=1e-6)
    assert "no C++ compiler was found. Sparse products take its place." in bare.stderr


def test_the_switch_chooses_sparse_products() -> None:
    finished = run(LAYER, MESHCAST_MESSAGE_KERNEL="sparse")
    assert finished.stdout.split()[0] == "None", finished.stderr


def test_a_switch_to_what_is_not_known_is_refused() -> None:
    said = run(LAYER, MESHCAST_MESSAGE_KERNEL="sse9").stderr
    assert "must be one of sparse, plain, avx2, avx512, avx512_bf16, amx, or unset, but is sse9" in said
