"""Where memory runs out, the message says what would take less, and that suffices."""

from __future__ import annotations

import multiprocessing
import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.networks.cnn import CNNConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.recomputation import recompute_rounds
from emulator.state import State
from graphs.available_memory import held_memory
from graphs.errors import MeshcastError, OutOfMemoryError
from graphs.meshes.ring import ring
from inference.forecasts.forecast import GuardedRollout
from tests.training.worlds import experiment
from training.experiment import ExperimentConfig, TrainingConfig
from training.optimisation import module
from training.preparation import first_guess
from training.preparation.memory import least_numbers, update_bytes, what_takes_less
from training.preparation.prepared import prepare, windows_of
from training.runs.dry_run import dry_run
from training.runs.fit import fit

MEGABYTE, BLOCK = 2**20, 2**16
WIDE = GNNConfig(processor=ProcessorConfig(num_layers=6, latent_size=32, hidden_size=32))
LONG = {"updates": 1, "batch_size": 384, "unroll": 10, "warm_up": 0}
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited on Linux alone")


def within(megabytes: int, work: Callable[[], Any]) -> str:
    """What some work ends with, in a process of its own that may take so much more memory than it has."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def limited() -> None:
        status = Path("/proc/self/status").read_text()
        held = int(re.search(r"VmSize:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (held, most))
        freed = []  # by tests before: it would be used first
        with suppress(MemoryError):
            while True:
                freed.append(bytearray(BLOCK))
        resource.setrlimit(resource.RLIMIT_AS, (held + megabytes * MEGABYTE, most))
        try:
            work()
            sender.send("done")
        except Exception as error:
            sender.send(f"{type(error).__name__}: {error}")

    process = context.Process(target=limited)
    process.start()
    sender.close()
    try:
        return str(receiver.recv()) if receiver.poll(60) else "no answer"
    finally:
        process.kill()
        process.join()


def trained(config: ExperimentConfig) -> Callable[[], Any]:
    return lambda: fit(config, progress=False)


@linux
def test_an_update_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    said = within(300, trained(experiment(tmp_path, emulator=WIDE, training=LONG)))
    assert said.startswith("MeshcastError: An update of 384 samples on 24 nodes needs about")
    assert "training.checkpoint_activations=both saves" in said
    assert not (tmp_path / "run" / "last.ckpt").exists()


@linux
@pytest.mark.parametrize("look", [trained, lambda config: lambda: dry_run(config)], ids=["train", "dry run"])
def test_an_update_that_runs_out_of_memory_says_what_takes_less_and_that_suffices(
    look: Callable[[ExperimentConfig], Callable[[], Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_guess, "refuse_too_large_network", lambda *given: None)  # whose estimate is a least one
    said = within(300, look(experiment(tmp_path, emulator=WIDE, training=LONG)))
    assert said.startswith("OutOfMemoryError: An update of 384 samples and 10 steps ran out of memory")
    assert re.search(r"more were asked for; this process holds .*, and .* are left\. It keeps at least", said)
    same, other = said.partition("With another one")[::2]
    for key in ("checkpoint_activations=steps", "batch_size=192 with training.accumulate=2", "shards=2"):
        assert f"training.{key} saves" in same
    for key in ("training.unroll=5", "training.precision=bf16-mixed", "half of emulator.processor.latent_size"):
        assert f"{key} saves" in other
    if look is not trained:
        return
    advised = experiment(tmp_path, name="advised", emulator=WIDE, training=LONG | {"checkpoint_activations": "both"})
    assert within(300, look(advised)) == "done"


def test_what_each_change_saves_is_what_it_saves() -> None:
    mesh, batch = ring(64), 16
    numbers = least_numbers(WIDE, mesh, 1)
    plain = TrainingConfig(batch_size=batch, unroll=4)
    network = WIDE.build(FeatureLayout(1, 1, 0, 1, 1), mesh)
    kept = {}
    for rounds in (False, True):
        recompute_rounds(network, rounds)
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(torch.randn(batch, 64, 1))
        kept[rounds] = sum(sizes.values())
    assert update_bytes(plain, numbers) == pytest.approx(4 * kept[False], rel=0.1)
    assert numbers.kept_by_rounds < 0.5 * numbers.kept
    text = what_takes_less(WIDE, plain, numbers)
    assert text.index("checkpoint_activations=both") < text.index("checkpoint_activations=steps") < text.index("unroll")


def test_advice_is_what_the_network_can_do() -> None:
    numbers = least_numbers(CNNConfig(), ring(64), 1)
    text = what_takes_less(CNNConfig(), TrainingConfig(batch_size=1, precision="bf16-mixed"), numbers)
    assert "batch_size" not in text and "precision" not in text and "layers" not in text and "shards" not in text
    assert "half of emulator.width saves" in text
    text = what_takes_less(CNNConfig(), TrainingConfig(curriculum=((0.5, 1), (0.5, 8)), precision="64-true"), numbers)
    assert "training.curriculum up to 4 steps saves" in text and "training.precision=32-true saves" in text


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 4 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: allocate 2147483648 bytes"),
        MemoryError("Unable to allocate 2.00 GiB for an array with shape (2,)"),
    ],
    ids=["GPU", "PyTorch", "numpy"],
)
def test_a_validation_without_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*given: Any) -> None:
        raise error

    monkeypatch.setattr(module, "error_sums", fails)
    words = (
        r"A validation of 3 cases at a time and 3 steps ran out of memory when 2(\.00)? GiB more .*steps=1 saves half"
    )
    with pytest.raises(OutOfMemoryError, match=words):
        fit(experiment(tmp_path), progress=False)


def test_what_fails_for_another_reason_is_no_matter_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(module, "error_sums", fails)
    with pytest.raises(RuntimeError, match="shapes") as found:
        fit(experiment(tmp_path), progress=False)
    assert not isinstance(found.value, MeshcastError)


@linux
def test_a_forecast_of_too_many_members_says_how_many_fit(tmp_path: Path) -> None:
    prepared = prepare(experiment(tmp_path, emulator=WIDE))
    windows, starts = windows_of(prepared)
    emulator, _ = first_guess.initial_network(prepared, windows)
    first = starts[0]
    state, forcings = starts.start_of({name: value[None] for name, value in first.items()})

    def members(count: int) -> Callable[[], Any]:
        many = State(state.values.repeat(1, count, 1, 1, 1), state.valid_time, state.trajectory)
        return lambda: next(GuardedRollout(emulator, many, forcings).steps(1))

    said = within(100, members(8000))
    assert said.startswith("OutOfMemoryError: A step of 1 case and 8000 members at a time ran out of memory")
    assert "--members 4000" in said and "--precision bfloat16" in said
    assert within(100, members(500)) == "done"
    assert held_memory() > 0 and np.isfinite(next(GuardedRollout(emulator, state, forcings).steps(1))).all()
