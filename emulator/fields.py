"""Fields in time: what training, forecasts and verification read, wherever it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from graphs.mesh import Mesh


class Fields(Protocol):
    """A series of fields on one mesh: an anemoi dataset through `open_dataset`, or plain arrays.

    variables: names, in the order of `units`.
    units: one a variable.
    mesh: where the values live.
    time_step: between consecutive times; calendar steps and nominal seconds included.
    times: [time] int64 seconds since 1970 UTC, increasing.
    missing: indices of times that cannot be read.
    ensemble_axis: whether the ensemble axis holds independent trajectories of a solver or members of one ensemble.
    attributes: licence, attribution, title, calendar and what else travels with the data.
    source: what was opened, for messages and fingerprints.
    """

    @property
    def variables(self) -> tuple[str, ...]: ...

    @property
    def units(self) -> tuple[str, ...]: ...

    @property
    def mesh(self) -> Mesh: ...

    @property
    def time_step(self) -> TimeStep: ...

    @property
    def times(self) -> NDArray[np.int64]: ...

    @property
    def missing(self) -> frozenset[int]: ...

    @property
    def ensemble_axis(self) -> Literal["trajectory", "member"]: ...

    @property
    def ensemble_size(self) -> int: ...

    @property
    def attributes(self) -> Mapping[str, str]: ...

    @property
    def source(self) -> str: ...

    def read(
        self,
        times: slice | NDArray[np.int64],
        variables: Sequence[str],
        ensemble: slice | Sequence[int] | int = slice(None),
    ) -> NDArray[np.float32]:
        """[time, ensemble, node, variable] in physical units; an int `ensemble` keeps its axis, with length one.

        Raises MeshcastError where a time is missing or a variable is not there.
        """
        ...
