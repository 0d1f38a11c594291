"""Global scalars in the store of a dataset: written, read, chosen from, damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data.datasets.create import create_dataset
from emulator.data.datasets.dataset_fields import open_dataset_fields
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep, to_datetime
from emulator.global_scalars import GlobalScalars
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere

YEARS = TimeStep.parse("1 year").advance(np.full(4, -120 * 31_556_952), np.arange(4))


def written(path: Path, scale: float = 1.0, numbers: tuple[int, ...] = (0, 1, 2)) -> Path:
    mesh = icosphere(0)
    values = np.random.default_rng(0).standard_normal((4, len(numbers), mesh.num_nodes))
    fields = xr.Dataset(
        {"tas": (("time", "number", "cell"), values, {"units": "K"})},
        {"time": to_datetime(YEARS), "number": list(numbers)},
    )
    forcing = scale * np.stack([np.arange(4.0) + 10 * number for number in numbers], axis=1)[..., None]
    scalars = GlobalScalars(("erf",), ("W m-2",), YEARS, numbers, forcing)
    create_dataset(
        path,
        fields,
        mesh=mesh,
        time_step=TimeStep.parse("1 year"),
        ensemble_axis="trajectory",
        attributes={"title": "a test"},
        scalars=scalars,
    )
    return path


def test_what_was_written_is_read_and_does_not_stand_among_the_variables(tmp_path: Path) -> None:
    fields = open_dataset_fields(str(written(tmp_path / "a.zarr", numbers=(3, 5, 8))))
    assert fields.variables == ("tas",) and fields.scalars is not None
    assert fields.scalars.names == ("erf",) and fields.scalars.units == ("W m-2",)
    assert fields.scalars.trajectories == (3, 5, 8) and (fields.scalars.times == YEARS).all()
    assert fields.scalars.at(YEARS[[2, 2]], np.array([5, 8]))[:, 0].tolist() == [52.0, 82.0]
    assert "global_scalars" not in fields.attributes


def test_part_of_the_trajectories_and_of_the_dates_keep_theirs(tmp_path: Path) -> None:
    path = str(written(tmp_path / "a.zarr"))
    part = open_fields(path, slice(1, 3))
    assert part.scalars is not None and part.scalars.trajectories == (1, 2)
    later = open_dataset_fields({"dataset": path, "start": str(to_datetime(YEARS)[2])})
    assert later.scalars is not None and later.scalars.at(later.times[:1], np.array([1])).item() == 12.0


def test_joined_datasets_must_agree(tmp_path: Path) -> None:
    first, same = (str(written(tmp_path / f"{name}.zarr")) for name in "ab")
    other = str(written(tmp_path / "c.zarr", scale=2.0))
    joined = {"join": [first, {"dataset": same, "rename": {"tas": "tos"}}]}
    assert open_dataset_fields(joined).scalars is not None
    joined["join"][1]["dataset"] = other  # type: ignore[index]
    with pytest.raises(MeshcastError, match="joins datasets with different global scalars"):
        open_dataset_fields(joined)


@pytest.mark.parametrize("lost", ["global_scalars/0.0.0", "global_scalar_times/0", "global_scalars"])
def test_a_dataset_that_lost_a_piece_is_refused(tmp_path: Path, lost: str) -> None:
    path = written(tmp_path / "a.zarr")
    piece = path / lost
    shutil.rmtree(piece) if piece.is_dir() else piece.unlink()
    with pytest.raises(MeshcastError, match="damaged"):
        open_dataset_fields(str(path))
