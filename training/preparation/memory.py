"""The memory a training takes at least, counted before it begins, and what would take less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.keras_networks.keras_models import KerasConfig, torch_config
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.recomputation import RoundByRound
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
    needed, what = update_bytes(training, numbers), f"An update of {training.batch_size} samples"
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


def update_bytes(training: TrainingConfig, numbers: LeastNumbers) -> int:
    """Return the bytes an update keeps at least for its gradient."""
    by_rounds = training.checkpoint_activations in ("layers", "both")
    steps = max(unroll for _, unroll in training.stages)
    if training.checkpoint_activations in ("steps", "both"):
        steps = 1  # the states of the others are small beside it
    each = min(numbers.kept_by_rounds, numbers.kept) if by_rounds else numbers.kept
    return _bytes_each(training) * each * training.batch_size * steps


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
    needed = update_bytes(training, numbers)
    same, other = dict[str, int](), dict[str, int]()

    def saved(**changes: Any) -> int:
        return needed - update_bytes(replace(training, **changes), numbers)

    ours, passes_messages = not isinstance(config, KerasConfig), isinstance(config, GNNConfig)
    most = max(unroll for _, unroll in training.stages)
    if (batch := training.batch_size) > 1:
        half = -(-batch // 2)
        times = getattr(training, "accumulate", None) or 1
        added = f"training.batch_size={half} with training.accumulate={times * -(-batch // half)}"
        (same if ours else other)[added if ours else f"training.batch_size={half}"] = saved(batch_size=half)
    if ours:
        for how, fits in (("steps", most > 1), ("layers", passes_messages), ("both", passes_messages and most > 1)):
            if fits:
                same[f"training.checkpoint_activations={how}"] = saved(checkpoint_activations=how)
    if passes_messages:
        same["training.shards=2"] = needed // 2
    if ours and most > 1:
        key = "training.curriculum up to" if training.curriculum else "training.unroll="
        shorter = tuple((share, min(steps, most // 2)) for share, steps in training.curriculum)
        changes = {"curriculum": shorter} if shorter else {"unroll": most // 2}
        other[f"{key}{' ' * bool(shorter)}{most // 2}{' steps' * bool(shorter)}"] = saved(**changes)
    if ours and _bytes_each(training) > 2:
        less = {8: "32-true", 4: "bf16-mixed"}[_bytes_each(training)]
        other[f"training.precision={less}"] = saved(precision=less)
    other[f"half of emulator.{config.width_key}"] = needed // 2
    return same, other


def _bytes_each(training: TrainingConfig) -> int:
    return 2 if "16" in training.precision else 8 if "64" in training.precision else 4


@contextmanager
def memory_of_updates(config: NetworkConfig, training: TrainingConfig, numbers: LeastNumbers) -> Iterator[None]:
    """Raise OutOfMemoryError, with what would take less, where updates made in a block run out of memory."""
    steps = max(unroll for _, unroll in training.stages)

    def what() -> str:
        return f"An update of {training.batch_size} samples and {steps} step{'s' * (steps > 1)}"

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
        with within.counted():
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
