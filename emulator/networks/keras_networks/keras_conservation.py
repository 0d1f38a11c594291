"""Conservation in TensorFlow's operations, for the loss of a Keras network and for its SavedModel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulator.networks.keras_networks.tensorflow_library import tensorflow


def with_means_kept(before: Any, after: Any, lower: Any, upper: Any, areas: Any, columns: Sequence[int]) -> Any:
    """Return what `emulator.features.conservation.Conservation` does but for its repair of the last digit.

    before: [batch, node, conserved] the state before; NaN is a masked node, which counts nowhere.
    after: [batch, node, variable] the state after, of which `columns` are the conserved ones, in the order of `before`.
    lower, upper: bounds of `after`, broadcast to it. areas: [node, 1].
    All in one unit, whatever its scale and offset are at a node.
    Returns [batch, node, variable] with the area means of the state before in the conserved columns.
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
    return tf.stack(
        [
            fixed[..., columns.index(column)] if column in columns else after_all[..., column]
            for column in range(after_all.shape[-1])
        ],
        axis=-1,
    )
