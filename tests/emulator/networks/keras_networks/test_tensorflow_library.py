"""TensorFlow comes in when it is asked for, and its absence is explained."""

from __future__ import annotations

import sys

import pytest

from emulator.networks.keras_networks.tensorflow_library import keras, tensorflow
from graphs.errors import MeshcastError


def test_its_absence_names_the_kind_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MeshcastError) as raised:
        tensorflow("keras_lstm")
    assert str(raised.value).startswith("kind: keras_lstm needs TensorFlow: pip install 'meshcast[tensorflow]'")


@pytest.mark.slow
def test_keras_on_another_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is absent: pip install 'meshcast[tensorflow]'")
    library = keras()
    monkeypatch.setattr(library.backend, "backend", lambda: "jax")
    with pytest.raises(MeshcastError, match="has it on jax"):
        keras("keras_cnn")
