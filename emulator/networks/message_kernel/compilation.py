"""From C++ source to a shared library: at the building of a wheel, else once a user, in the user's cache.

Imports nothing but Python's own library, since the building of a wheel loads this file alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNEL, THREADS = "message_kernel.cpp", "threads.cpp"
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma")
X86 = {  # flags of each instruction set that the kernel is written for, by its number in the source
    0: (),
    1: ("-mavx2", "-mfma"),
    2: AVX512,
    3: (*AVX512, "-mavx512bf16"),
    4: (*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
}
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-w")


def instruction_sets() -> dict[int, tuple[str, ...]]:
    """Return the compiler's flags for each instruction set of this kind of machine."""
    return X86 if platform.machine() in ("x86_64", "AMD64") else {0: ()}


def library_name() -> str:
    """Return the library's name, which changes with its source, its flags and the kind of machine."""
    digest = hashlib.sha256(repr((sys.platform, platform.machine(), FLAGS, instruction_sets())).encode())
    for name in (KERNEL, THREADS):
        digest.update((HERE / name).read_bytes())
    return f"message_kernel-{digest.hexdigest()[:16]}.so"


def find_library() -> Path | None:
    """Return the library that came with the package or stands in the cache; None where there is none."""
    for folder in (HERE, cache_folder()):
        if (folder / library_name()).is_file():
            return folder / library_name()
    return None


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/meshcast, by default ~/.cache/meshcast."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshcast"


def compile_library(folder: Path) -> Path:
    """Return the library in a folder, compiled there unless it is there already.

    It is whole or not there, and compiled by one process at a time. An instruction set that the compiler does not know
    is left out. Raises OSError where there is no compiler, where it fails, or where nothing can be written.
    """
    library = folder / library_name()
    folder.mkdir(parents=True, exist_ok=True)
    with _one_process(folder / f"{library.name}.lock"):
        if library.is_file():
            return library
        compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
        if compiler is None:
            raise OSError("no C++ compiler was found")
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{library.name}-") as scratch:
            _compile(compiler, Path(scratch), Path(scratch) / library.name)
            os.replace(Path(scratch) / library.name, library)
    return library


def _compile(compiler: str, scratch: Path, library: Path) -> None:
    running = {}
    for isa, flags in instruction_sets().items():
        command = [compiler, *FLAGS, *flags, f"-DISA={isa}", "-c", str(HERE / KERNEL), "-o", str(scratch / f"{isa}.o")]
        running[isa] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = {isa: process.communicate()[1] for isa, process in running.items()}
    objects = [str(scratch / f"{isa}.o") for isa, process in running.items() if process.returncode == 0]
    if not objects:
        raise OSError(f"{compiler} cannot compile {KERNEL}: {said[0].strip()[-500:]}")
    linked = subprocess.run(
        [compiler, *FLAGS, "-shared", "-pthread", str(HERE / THREADS), *objects, "-o", str(library)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if linked.returncode != 0:
        raise OSError(f"{compiler} cannot link {KERNEL}: {linked.stderr.strip()[-500:]}")


@contextlib.contextmanager
def _one_process(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not on this system; the library is renamed into its place all the same
        yield
        return
    with open(path, "w") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        print(find_library() or compile_library(cache_folder()))
    except OSError as error:
        sys.exit(f"The fused message kernel was not compiled: {error}. Sparse products take its place.")
