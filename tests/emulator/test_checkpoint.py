"""Checkpoints come back as they went, or not at all, and never run anything."""

import json
import os
import pickle
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.checkpoint import FORMAT_VERSION, read, save
from graphs.errors import MeshcastError

METADATA = {"task": {"names": ["u", "v"], "history": 2}, "rate": 1e-3, "none": None, "text": "größer"}


def arrays() -> dict[str, torch.Tensor | np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4, generator=generator)
    return {
        "weights": weights,
        "transposed": weights.T,
        "same": weights[:2],
        "half": weights.bfloat16(),
        "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 3),
        "index": torch.arange(5),
        "mask": np.array([True, False]),
        "mean": np.arange(6.0).reshape(2, 3)[:, ::-1],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "emulator.safetensors", arrays(), METADATA)
    return tmp_path / "emulator.safetensors"


def test_arrays_and_metadata_come_back_exactly(path: Path) -> None:
    read_arrays, metadata = read(path)
    assert metadata == METADATA
    assert read_arrays.keys() == arrays().keys()
    for name, array in arrays().items():
        expected = torch.as_tensor(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array
        assert read_arrays[name].dtype == expected.dtype
        assert torch.equal(read_arrays[name], expected)


def refusal(path: Path) -> str:
    with pytest.raises(MeshcastError) as caught:
        read(path)
    return str(caught.value)


def test_files_that_are_no_checkpoint_are_refused_with_a_reason(path: Path, tmp_path: Path) -> None:
    assert "found nothing" in refusal(tmp_path / "absent.safetensors")
    assert "found a folder" in refusal(tmp_path)
    whole = path.read_bytes()
    for part in (b"", whole[:4], whole[:100], whole[:-1], b"\xff" * 8 + whole, b"CDF\x01" + bytes(64)):
        path.write_bytes(part)
        assert "no readable checkpoint" in refusal(path)


def test_one_flipped_bit_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for at in (len(whole) - 3, whole.index(b"0.001") + 4):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "was altered" in refusal(path)


def test_another_programs_safetensors_is_foreign(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert "not a Meshcast checkpoint" in refusal(tmp_path / "other.safetensors")


def test_a_newer_format_is_refused(path: Path) -> None:
    old, new = (f'"meshcast_format":"{version}"'.encode() for version in (FORMAT_VERSION, FORMAT_VERSION + 1))
    path.write_bytes(path.read_bytes().replace(old, new))
    assert "Upgrade Meshcast" in refusal(path)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_a_pickle_payload_executes_nothing(path: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    attacks = [pickle.dumps(Payload(made))]
    torch.save({"state": Payload(made)}, tmp_path / "attack.pt")
    attacks.append((tmp_path / "attack.pt").read_bytes())
    header = json.dumps({"__metadata__": {"meshcast_format": "1", "metadata": attacks[0].hex()}}).encode()
    attacks.append(struct.pack("<Q", len(header)) + header)
    for attack in attacks:
        path.write_bytes(attack)
        refusal(path)
        assert not made.exists()
    with pytest.raises(FileNotFoundError):  # the payload is live: unpickling it would have made the folder
        pickle.loads(pickle.dumps(Payload(made / "deeper")))


def test_a_failed_write_leaves_the_old_file_and_no_part(path: Path) -> None:
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(MeshcastError, match="No room left"):
            save(path, arrays(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_paths_that_cannot_be_written_say_so(path: Path, tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match="a folder of that name"):
        save(tmp_path, arrays(), {})
    with pytest.raises(MeshcastError, match="Cannot write"):
        save(path / "below" / "a.safetensors", arrays(), {})
