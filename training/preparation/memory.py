"""The memory a training takes at least, counted before it begins, and what would take less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.keras_networks.keras_models import KerasConfig, torch_config
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.recomputation import RoundByRound, keeping_nothing
from graphs.available_memory import answered_out_of_memory, readable, refuse_too_large
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from training.experiment import TrainingConfig
from training.preparation.windows import Windows

BYTES_PER_WEIGHT = 12  # itself, its gradient and at least one moment of it
BYTES_OF_FORECAST = 4 + 8 + 8  # of a number of validation: forecast in single and double precision, and the truth
LEAST_SAVED = 0.05  # of an update's memory, for a change to be worth a word


class LeastNumbers(NamedTuple):
    """What a network holds at least, in numbers.

    weights: all of them. kept: for the gradient, of one sample and step. kept_by_rounds: where rounds of messages are
    computed again for it: what enters each, and what the largest holds within.
    """

    weights: int
    kept: int
    kept_by_rounds: int


def refuse_too_large_network(
    config: NetworkConfig, mesh: Mesh, history: int, training: TrainingConfig, numbers: LeastNumbers | None = None
) -> None:
    """Raise MeshcastError where graphs, weights, or what an update keeps for its gradient, cannot fit in memory.

    mesh: of the data. history: states a network sees. numbers: `least_numbers` of these, where they are known.
    """
    numbers = numbers or least_numbers(config, mesh, history)
    refuse_too_large(
        BYTES_PER_WEIGHT * numbers.weights,
        f"A network of kind {config.kind} with {numbers.weights:,} or more weights for {mesh.num_nodes:,} nodes",
        "Choose a smaller width, a coarser grid, or the scope that nodes share.",
    )
    on_gpu = torch.cuda.is_available() and training.accelerator != "cpu"
    needed, what = update_bytes(training, numbers), f"An update of {training.process_batch} samples"
    what += f" on {mesh.num_nodes:,} nodes"
    if on_gpu:
        total = torch.cuda.get_device_properties(0).total_memory
        if needed > total:
            raise MeshcastError(
                f"{what} needs about {readable(needed)} of memory, but the GPU has {readable(total)}. "
                f"{what_takes_less(config, training, numbers)}"
            )
        return
    refuse_too_large(needed, what, what_takes_less(config, training, numbers))


class UpdateSize(NamedTuple):
    """What the memory of an update depends on.

    samples: of a process and batch, members among them. steps: of the loss, the most. bytes_each: of a number.
    rounds, all_but_one: whether rounds of messages, and all steps but one, are computed again for the gradient.
    shards: processes that share its nodes.
    """

    samples: int
    steps: int
    bytes_each: int
    rounds: bool
    all_but_one: bool
    shards: int

    @classmethod
    def of(cls, training: TrainingConfig) -> UpdateSize:
        """Return the size of a training's largest updates."""
        steps, how = max(unroll for _, unroll in training.stages), training.checkpoint_activations
        bytes_each = 2 if "16" in training.precision else 8 if "64" in training.precision else 4
        samples, rounds, all_but_one = training.process_batch * training.members, ("layers", "both"), ("steps", "both")
        return cls(samples, steps, bytes_each, how in rounds, how in all_but_one, training.shards)

    def kept(self, numbers: LeastNumbers) -> int:
        """Return the bytes that an update keeps at least for its gradient."""
        each = min(numbers.kept_by_rounds, numbers.kept) if self.rounds else numbers.kept
        steps = 1 if self.all_but_one else self.steps  # the states of the others are small beside it
        return self.bytes_each * each * self.samples * steps // self.shards


def update_bytes(training: TrainingConfig, numbers: LeastNumbers) -> int:
    """Return the bytes an update keeps at least for its gradient."""
    return UpdateSize.of(training).kept(numbers)


def what_takes_less(config: NetworkConfig, training: TrainingConfig, numbers: LeastNumbers) -> str:
    """Return sentences on the keys that have an update take less memory, with what each saves of it.

    First what changes no number that is learned, then what does, the most saving first.
    """
    needed = update_bytes(training, numbers)
    same, other = _alternatives(config, training, numbers)
    texts = []
    for words, group in (("With the same result, to rounding", same), ("With another one", other)):
        worth = sorted(((saved, key) for key, saved in group.items() if saved > LEAST_SAVED * needed), reverse=True)
        listed = "; ".join(f"{key} saves {readable(saved)}" for saved, key in worth)
        texts += [f"{words}: {listed}."] if listed else []
    if not texts:
        return f"Choose a coarser grid or mesh, or smaller training.batch_size or {config.width_key}."
    return f"It keeps at least {readable(needed)} for its gradient. {' '.join(texts)}"


def _alternatives(
    config: NetworkConfig, training: TrainingConfig, numbers: LeastNumbers
) -> tuple[dict[str, int], dict[str, int]]:
    """Return what settings save, in bytes, by their text: those that change no number, and the others."""
    size, needed = UpdateSize.of(training), update_bytes(training, numbers)
    same, other = dict[str, int](), dict[str, int]()

    def saved(**changes: Any) -> int:
        return needed - size._replace(**changes).kept(numbers)

    ours, passes_messages = not isinstance(config, KerasConfig), isinstance(config, GNNConfig)
    if (batch := training.process_batch) > 1:
        half = -(-batch // 2)
        less, times = saved(samples=half * training.members), training.accumulate * -(-batch // half)
        if ours and training.global_batch_size is not None:
            same[f"training.accumulate={times}"] = less if batch % 2 == 0 else 0
        elif ours:
            same[f"training.batch_size={half} with training.accumulate={times}"] = less
        else:
            other[f"training.batch_size={half}"] = less
    if ours:
        again = {"steps": (size.steps > 1, {"all_but_one": True}), "layers": (passes_messages, {"rounds": True})}
        again["both"] = (passes_messages and size.steps > 1, {"rounds": True, "all_but_one": True})
        for how, (fits, changes) in again.items():
            if fits:
                same[f"training.checkpoint_activations={how}"] = saved(**changes)
    if passes_messages:
        same[f"training.shards={2 * size.shards}"] = saved(shards=2 * size.shards)
    if ours and size.steps > 1:
        half = size.steps // 2
        key = f"training.curriculum up to {half} steps" if training.curriculum else f"training.unroll={half}"
        other[key] = saved(steps=half)
    if ours and size.bytes_each > 2:
        less_precise = "32-true" if size.bytes_each == 8 else "bf16-mixed"
        other[f"training.precision={less_precise}"] = saved(bytes_each=size.bytes_each // 2)
    other[f"half of emulator.{config.width_key}"] = needed // 2
    return same, other


@contextmanager
def memory_of_updates(config: NetworkConfig, training: TrainingConfig, numbers: LeastNumbers) -> Iterator[None]:
    """Raise OutOfMemoryError, with what would take less, where updates made in a block run out of memory."""
    steps = max(unroll for _, unroll in training.stages)

    def what() -> str:
        return f"An update of {training.process_batch} samples and {steps} step{'s' * (steps > 1)}"

    def remedy(held: int) -> str:
        return f"{what_takes_less(config, training, numbers)} --dry-run says what a training takes."

    with answered_out_of_memory(what, remedy):
        yield


def memory_of_validation(starts: Windows, cases: int) -> AbstractContextManager[None]:
    """Return a context that raises OutOfMemoryError, with what would take less, where a validation runs out of memory.

    cases: forecast at a time.
    """
    steps, numbers = starts.steps, starts.fields.mesh.num_nodes * len(starts.task.prognostic)

    def remedy(held: int) -> str:
        kept = BYTES_OF_FORECAST * cases * steps * numbers
        return (
            f"It keeps {readable(kept)} of its forecasts: validation.steps={max(1, steps // 2)} saves half of that, "
            f"and training.batch_size={max(1, cases // 2)} half of it and of what the network takes, since as many "
            "cases, 16 at most, are forecast at a time."
        )

    return answered_out_of_memory(lambda: f"A validation of {cases} cases at a time and {steps} steps", remedy)


def least_numbers(config: NetworkConfig, mesh: Mesh, history: int) -> LeastNumbers:
    """Return a network's weights, and the numbers an update keeps for its gradient, of each sample and step.

    Of one variable in and out, by passes through the network on PyTorch's device `meta`, whose tensors have a shape and
    no content. At least so many: a fused LSTM has a workspace beside them. All are zero where a network cannot be
    built there.
    """
    if isinstance(config, KerasConfig):
        config = torch_config(config)
    try:
        with torch.device("meta"):
            network = config.build(FeatureLayout(history, 1, 0, history, 1), mesh).to("meta")
            given = [torch.empty(count, mesh.num_nodes, history) for count in (1, 2)]
            one, two = (_numbers_kept(network, features) for features in given)
            again, again_two = (_numbers_kept_by_rounds(network, features) for features in given)
    except (RuntimeError, NotImplementedError, TypeError):  # it needs the content of a tensor, as for geometry
        return LeastNumbers(0, 0, 0)
    weights = sum(weight.numel() for weight in network.parameters())
    return LeastNumbers(weights, two - one, again_two - again)


def _numbers_kept(network: Callable[[Tensor], Any], features: Tensor) -> int:
    kept = _Kept()
    with kept.counted():
        network(features)
    return kept.numbers


def _numbers_kept_by_rounds(network: nn.Module, features: Tensor) -> int:
    """Return the numbers that are kept where every round of messages is computed again, one at a time."""
    outside, largest = _Kept(), 0

    def again(one: Callable[..., Any], *inputs: Any) -> Any:
        nonlocal largest
        if isinstance(one, RoundByRound):
            return one(*inputs)
        for value in inputs:
            if isinstance(value, Tensor):
                outside.keep(value)
        within = _Kept()
        with within.counted(), keeping_nothing():
            result = one(*inputs)
        largest = max(largest, within.numbers)
        return result

    parts = [module for module in network.modules() if isinstance(module, RoundByRound)]
    for part in parts:
        part.in_round = again  # type: ignore[method-assign]
    try:
        with outside.counted():
            network(features)
    finally:
        for part in parts:
            del part.in_round
    return outside.numbers + largest


class _Kept:
    """Tensors that are kept for a gradient, by storage, which views of one tensor share."""

    def __init__(self) -> None:
        self.tensors: dict[int, Tensor] = {}

    def keep(self, tensor: Tensor) -> Tensor:
        self.tensors[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def counted(self) -> torch.autograd.graph.saved_tensors_hooks:
        return torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor)

    @property
    def numbers(self) -> int:
        return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in self.tensors.values())
