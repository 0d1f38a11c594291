"""A plug-in format of data: a text file with a line of numbers a time, one for each node of a ring."""

import numpy as np

from emulator.data.arrays import ArrayFields
from emulator.data.formats import DataFormat
from emulator.foundation.time_step import TimeStep
from graphs.meshes.ring import ring


def open_text(path: str) -> ArrayFields:
    """Return the fields of a text file, u on a ring, a frame a second."""
    values = np.loadtxt(path, dtype=np.float32)[:, None, :, None]  # [time, ensemble, node, variable]
    times = np.arange(len(values), dtype=np.int64)
    return ArrayFields(values, ("u",), ("1",), ring(values.shape[2]), TimeStep(1), times, source=path)


FORMATS = {"text": DataFormat(endings=(".txt",), open_fields=open_text)}
