"""Coasts lie where they lie on Earth, also across the date line."""

import numpy as np

from inference.pictures.coastlines import coastlines


def test_coastlines_pass_where_they_should() -> None:
    lines = coastlines((-11.0, 3.0, 49.0, 59.0))
    points_on_shore = np.concatenate(lines)
    for longitude, latitude in ((-5.71, 50.07), (1.75, 52.48), (-3.07, 58.64)):  # Land's End, Lowestoft, Duncansby Head
        assert np.hypot(*(points_on_shore - (longitude, latitude)).T).min() < 0.1
    assert coastlines((-150.0, -140.0, -50.0, -45.0)) == []
    antarctic = np.concatenate(coastlines((-180.0, 180.0, -90.0, -60.0)))
    assert antarctic[:, 1].min() < -75


def test_a_box_across_the_date_line_has_the_coasts_of_both_sides() -> None:
    lines = coastlines((170.0, 190.0, 60.0, 70.0))  # Chukotka, from 170 E to 170 W
    east = [line for line in lines if line[:, 0].min() > 180.0]
    west = [line for line in lines if line[:, 0].max() < 180.0]
    assert east and west and all(np.abs(np.diff(line, axis=0)).max() < 5.0 for line in lines)
