"""Batches of windows as Keras networks learn from them: features and targets, read ahead by TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from emulator.networks.keras_networks.keras_network import KerasNetwork
from emulator.networks.keras_networks.tensorflow_library import tensorflow
from emulator.neural import NeuralEmulator
from training.experiment import TrainingConfig
from training.preparation.first_guess import Untrained
from training.preparation.windows import Batch, ShuffledStream, Windows, noisy

# Features, target, lower and upper bound, and the conserved variables of the state before, each [batch, node, column].
Example = tuple[NDArray[np.float32], ...]


def examples(untrained: Untrained, start: int) -> Iterator[Example]:
    """Batches of the shuffled stream from update `start` on, read ahead by `tf.data` while the network works."""
    tf = tensorflow()
    emulator, windows, training = untrained.emulator, untrained.windows, untrained.config.training
    stream = ShuffledStream(len(windows), training.process_batch, training.updates, training.seed, start)
    # No workers: tf.data reads ahead itself, and a process with TensorFlow's threads in it should not fork.
    loader: DataLoader[Batch] = DataLoader(windows, batch_size=training.process_batch, sampler=stream)
    failures: list[Exception] = []

    def generate() -> Iterator[Example]:
        try:
            for batch in loader:
                yield example_of(emulator, windows, training, batch)
        except Exception as error:  # TensorFlow would hide it in one of its own
            failures.append(error)
            raise

    node, num_outputs = emulator.mesh.num_nodes, len(emulator.task.predicted)
    assert isinstance(emulator.network, KerasNetwork)
    conserved = len(emulator.inputs.conservation.columns)
    columns = (emulator.network.model.input_shape[-1], *[num_outputs] * 3, conserved)
    kinds = tuple(tf.TensorSpec((None, node, count), tf.float32) for count in columns)
    try:
        yield from tf.data.Dataset.from_generator(generate, output_signature=kinds).prefetch(2)
    except tf.errors.OpError:
        if failures:
            raise failures[0] from None
        raise


@torch.no_grad()
def example_of(emulator: NeuralEmulator, windows: Windows, training: TrainingConfig, batch: Batch) -> Example:
    """Return the inputs and targets of a batch: what the first guess leaves, over `correction_std`.

    The target is NaN where the truth is. Bounds and the state before are seen from the first guess, as the target is.
    """
    state, forcings = windows.start_of(batch)
    inputs, task = emulator.inputs, emulator.task
    state = noisy(state, batch, training.noise, inputs)
    guess, features = emulator.guess(emulator.inputs.features(state, forcings.window(state, task, 0)), state)
    truth = batch["values"][:, task.history]
    before = torch.nn.functional.pad(state.now[:, 0], (0, len(task.diagnostic)))  # no diagnostic is conserved
    *others, before = (
        (inputs.targets(state, values) - guess) / emulator.correction_std
        for values in (truth, inputs.lower, inputs.upper, before)
    )
    arrays = (features, *others, before[..., inputs.conservation.columns])
    return tuple(array.float().numpy() for array in arrays)
