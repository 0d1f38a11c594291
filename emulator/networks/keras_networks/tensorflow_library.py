"""The door of TensorFlow: imported only when a Keras network is asked for, quietly, with as many threads as torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

from graphs.errors import MeshcastError, MissingExtraError


def tensorflow(kind: str = "keras_cnn") -> ModuleType:
    """Return TensorFlow. Raises MissingExtraError, which names the kind of emulator, where it is absent."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors alone
        os.environ["KERAS_BACKEND"] = "tensorflow"
    library = _imported("TensorFlow", kind)
    _share_the_machine(library)
    return library


def keras(kind: str = "keras_cnn") -> ModuleType:
    """Return Keras on TensorFlow. Raises as `tensorflow` does, and where Keras is in use already on another library."""
    tensorflow(kind)
    library = _imported("Keras", kind)
    if library.backend.backend() != "tensorflow":
        raise MeshcastError(
            f"kind: {kind} needs Keras on TensorFlow, but this process has it on {library.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow before Keras is imported."
        )
    return library


def refuse_absent(kind: str) -> None:
    """Raise MissingExtraError where TensorFlow or Keras is not installed, without the seconds that importing takes."""
    for library in ("TensorFlow", "Keras"):
        name = library.lower()
        if sys.modules.get(name, ...) is None or (name not in sys.modules and find_spec(name) is None):
            raise _absent(kind, library, ImportError(name=name))


def _imported(library: str, kind: str) -> ModuleType:
    try:
        with _standard_error_closed():
            return import_module(library.lower())
    except ImportError as error:
        raise _absent(kind, library, error) from None


def _absent(kind: str, library: str, error: ImportError) -> MissingExtraError:
    broken = "" if error.name == library.lower() else f" (it is there, but cannot be imported: {error})"
    return MissingExtraError(f"kind: {kind} needs {library}: pip install 'meshcast[tensorflow]'{broken}.")


def _share_the_machine(tensorflow: ModuleType) -> None:
    config = tensorflow.config
    try:
        config.threading.set_intra_op_parallelism_threads(torch.get_num_threads())
        config.threading.set_inter_op_parallelism_threads(1)
        for device in config.list_physical_devices("GPU"):
            config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        pass  # whoever started TensorFlow before us has chosen


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Importing the two writes to standard error before any setting can keep them from it."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
