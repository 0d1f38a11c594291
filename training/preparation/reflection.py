"""Whether a ring's data know the reflection that a user asks for: by their equation, or by what follows from what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from emulator.fields import Fields
from emulator.physics.ring_equations import reflections
from emulator.physics.simulate import SimulationConfig, equation_of, simulation_of
from emulator.task import Task, names_of
from graphs.errors import MeshcastError

STATES, LEAST_STATES = 200, 20  # looked at, spread over all rows and times
REACH, NEAR = 12, 3  # nodes to either side that count linearly, and in products of two
MOST_PRODUCTS = 300
PENALTY = 1e-8  # on squared weights of regressors of size one, in units of the change's mean square
NEGLIGIBLE = 1e-6  # of the change's mean square
# Of the equations of APEBench it is at most 1.04 where they have the reflection and at least 18 where they have not, of
# ten trajectories of 26 frames; of two of 11 frames at most 2.2 and at least 7.9.
WORSE = 4.0


def refuse_other_reflections(odd: Sequence[str], task: Task, fields: Fields) -> None:
    """Raise MeshcastError where data on a ring do not obey the law of their images.

    Where a simulation wrote them, its equation tells; else a fit of the next state, see `worse_with_images`.
    odd: the predicted variables that change sign with x.
    """
    if fields.mesh.domain.kind != "ring":
        return
    names, simulation = names_of(task.predicted), simulation_of(fields.attributes)
    if isinstance(simulation, SimulationConfig):
        signs = reflections(equation_of(simulation))
        hold = [names if sign < 0 else () for sign in signs]
        found = "the equation by which they were simulated has another"
    else:
        hold = [some for some in ((), names) if worse_with_images(some, task, fields) <= WORSE]
        found = f"what follows from an image so made is another law's, by a fit to {STATES} states"
        if set(odd) not in (set(), set(names)) and worse_with_images(odd, task, fields) <= WORSE:
            return
    if any(set(odd) == set(some) for some in hold):
        return
    remedy = " or ".join(f"Set training.mirror=[{', '.join(some)}]" for some in hold) or (
        "Leave training.mirror away; training.shift holds for every equation with constant coefficients"
    )
    raise MeshcastError(f"training.mirror=[{', '.join(odd)}] is no reflection of {fields.source}: {found}. {remedy}.")


def worse_with_images(odd: Sequence[str], task: Task, fields: Fields) -> float:
    """Return how many times the mean squared error of a fit grows where images of the data are fitted too.

    The change over a step is regressed on the state around a node and on products of two values near it, from every
    other state, and scored on those between. A law that images obey too is fitted no worse with them.
    """
    now, later = _states(task, fields)
    signs = np.where([name in odd for name in names_of(task.predicted)], -1.0, 1.0)
    now = now - np.where(signs > 0, now.mean(axis=(0, 1)), 0.0)  # an offset changes no sign
    size = np.maximum(np.sqrt(np.square(now).mean(axis=(0, 1))), 1e-30)
    now, change = now / size, later / size
    if len(now) < LEAST_STATES or not np.isfinite([now, later]).all():
        return 1.0  # too little to refute anything
    back = -np.arange(now.shape[1]) % now.shape[1]
    learned, scored = (now[::2], change[::2]), (now[1::2], change[1::2])
    both = [np.concatenate([given, signs * given[:, back]]) for given in learned]
    return float((_error(both[0], both[1], *scored) + NEGLIGIBLE) / (_error(*learned, *scored) + NEGLIGIBLE))


def _states(task: Task, fields: Fields) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return states [state, node, variable] and their change over a step, spread over the data."""
    step, names = task.time_step.frames(fields.time_step), names_of(task.predicted)
    starts = [time for time in range(len(fields.times) - step) if not fields.missing.intersection((time, time + step))]
    places = [(row, time) for row in range(fields.ensemble_size) for time in starts]
    chosen = places[:: -(-len(places) // STATES)] if places else []
    pairs = [fields.read(np.array([time, time + step]), names, row)[:, 0] for row, time in chosen]
    values = np.array(pairs, dtype=np.float64).reshape(len(pairs), 2, fields.mesh.num_nodes, len(names))
    return values[:, 0], values[:, 1] - values[:, 0]


def _error(
    now: NDArray[np.float64], change: NDArray[np.float64], other: NDArray[np.float64], expected: NDArray[np.float64]
) -> float:
    """Return the mean squared error on other states of a fit to some, in units of the change's mean square."""
    regressors = _regressors(now)
    size = np.maximum(np.sqrt(np.square(regressors).mean(axis=0)), 1e-30)
    regressors /= size
    gram = regressors.T @ regressors / len(regressors) + PENALTY * np.eye(len(size))
    weights = np.linalg.solve(gram, regressors.T @ change.reshape(len(regressors), -1) / len(regressors))
    found = (_regressors(other) / size) @ weights
    return float(np.square(found - expected.reshape(found.shape)).mean() / max(np.square(expected).mean(), 1e-30))


def _regressors(now: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one, the values around each node and products of two near it [state · node, regressor]."""
    count, reach = now.shape[2], min(REACH, (now.shape[1] - 1) // 2)
    near = next(k for k in range(min(NEAR, reach), -1, -1) if k == 0 or ((2 * k + 1) * count) ** 2 / 2 < MOST_PRODUCTS)
    shifted = {k: np.roll(now, -k, axis=1) for k in range(-reach, reach + 1)}
    linear = np.concatenate(list(shifted.values()), axis=2)
    close = np.concatenate([shifted[k] for k in range(-near, near + 1)], axis=2)
    products = [close[..., a] * close[..., b] for a, b in combinations_with_replacement(range(close.shape[2]), 2)]
    ones = np.ones(now.shape[:2])
    return np.concatenate([linear, np.stack([ones, *products], axis=2)], axis=2).reshape(
        now.shape[0] * now.shape[1], -1
    )
