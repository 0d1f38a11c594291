"""A Keras model as a network of ours: TensorFlow computes, the weights are kept as everybody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.keras_networks.tensorflow_library import tensorflow


class KerasNetwork(nn.Module):
    """A Keras model under the interface of a torch network: [batch, node, input] to [batch, node, output].

    The weights are torch parameters, `convolution_0.kernel` and so on; a call hands them to the model.
    No gradient comes back: `training.optimisation.keras_training` fits these networks, in TensorFlow.

    model: a built Keras model; copies share it.
    weights: initial values by `layer.variable`.
    regridding: what the model does to fields before and after, in words; empty where nothing.
    """

    def __init__(self, model: Any, weights: Mapping[str, NDArray[np.float32]], regridding: str = "") -> None:
        super().__init__()
        self.regridding = regridding
        self._compiled = _Compiled(model)
        self.names = [name_of(variable) for variable in model.trainable_variables]
        assert set(self.names) == set(weights), (self.names, list(weights))
        layers: dict[str, nn.ParameterDict] = {}
        for name, variable in zip(self.names, model.trainable_variables, strict=True):
            layer, which = name.split(".")
            value = np.array(weights[name], dtype=np.float32)
            assert value.shape == tuple(variable.shape), (name, value.shape, variable.shape)
            layers.setdefault(layer, nn.ParameterDict())[which] = nn.Parameter(torch.from_numpy(value))
        for layer, parameters in layers.items():
            self.add_module(layer, parameters)

    @property
    def model(self) -> Any:
        """Return the Keras model."""
        return self._compiled.model

    def forward(self, features: Tensor) -> Tensor:
        answer = self._compiled.call(self.arrays(), features.detach().float().cpu().numpy())
        return torch.tensor(answer.numpy(), device=features.device)

    def arrays(self) -> list[NDArray[np.float32]]:
        """Return the weights, in the order of the model's trainable variables."""
        return [self.get_parameter(name).detach().cpu().numpy() for name in self.names]

    def give(self) -> None:
        """Set the model's own variables to the weights."""
        for variable, value in zip(self.model.trainable_variables, self.arrays(), strict=True):
            variable.assign(value)

    @torch.no_grad()
    def take(self, values: list[NDArray[np.float32]]) -> None:
        """Set the weights, in the order of the model's trainable variables."""
        for name, value in zip(self.names, values, strict=True):
            self.get_parameter(name).copy_(torch.tensor(value))


class _Compiled:
    """A model and its call as one function of weights and features, which copies of a network share."""

    def __init__(self, model: Any) -> None:
        tf = tensorflow()
        self.model = model
        kinds = [tf.TensorSpec(variable.shape, tf.float32) for variable in model.trainable_variables]

        def call(weights: list[Any], features: Any) -> Any:
            # What is not trained are seeds of a dropout that is off.
            return model.stateless_call(weights, [v.value for v in model.non_trainable_variables], features)[0]

        features = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
        self.call = tf.function(call, input_signature=[kinds, features])

    def __deepcopy__(self, memo: dict[int, Any]) -> _Compiled:
        return self


def name_of(variable: Any) -> str:
    """Return `layer.variable` of a Keras variable, whose path names cells between the two."""
    layer, *_, which = variable.path.split("/")
    return f"{layer}.{which}"


def with_means_kept(before: Any, after: Any, lower: Any, upper: Any, areas: Any, columns: Sequence[int]) -> Any:
    """Return what `emulator.features.conservation.Conservation` does but for its repair of the last digit.

    before: [batch, node, conserved] the state before; NaN is a masked node, which counts nowhere.
    after: [batch, node, variable] the state after, of which `columns` are the conserved ones, in the order of `before`.
    lower, upper: bounds of `after`, broadcast to it. areas: [node, 1].
    All in one unit, whatever its scale and offset are at a node; so is what returns, [batch, node, variable].
    """
    if not columns:
        return after
    tf = tensorflow()
    after_all, shape = after, tf.shape(after)
    after, lower, upper = (
        tf.cast(tf.gather(tf.broadcast_to(values, shape), columns, axis=-1), tf.float64)
        for values in (after, lower, upper)
    )
    old = tf.cast(before, tf.float64)
    there = ~tf.math.is_nan(old)
    old, new = tf.where(there, old, 0.0), tf.where(there, after, 0.0)
    areas = tf.where(there, tf.cast(areas, tf.float64), 0.0)
    areas /= tf.reduce_sum(areas, axis=1, keepdims=True)
    excess = tf.reduce_sum(areas * (new - old), axis=1, keepdims=True)
    room = tf.where((excess < 0) & tf.math.is_finite(upper), tf.maximum(upper - new, 0.0), tf.maximum(new - lower, 0.0))
    room = tf.where(tf.math.is_finite(room), room, 1.0)
    mean = tf.reduce_sum(areas * room, axis=1, keepdims=True)
    share = tf.where(mean > 0, room / tf.where(mean > 0, mean, 1.0), 1.0)
    fixed = tf.cast(tf.clip_by_value(new - excess * share, lower, upper), after_all.dtype)
    values = [
        fixed[..., columns.index(column)] if column in columns else after_all[..., column]
        for column in range(after_all.shape[-1])
    ]
    return tf.stack(values, axis=-1)
