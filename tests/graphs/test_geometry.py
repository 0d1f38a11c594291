"""Geometry of the sphere against what is known of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.geometry import (
    band_areas,
    great_circle_distance,
    parallel_transport,
    tangent_displacement,
    tangent_frames,
    to_latlon,
    to_xyz,
    triangle_areas,
)

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 360, exclude_max=True)
quick = settings(max_examples=60, deadline=None)


@quick
@given(latitudes, longitudes)
def test_coordinates_come_back_and_poles_keep_their_longitude(latitude: float, longitude: float) -> None:
    back_latitude, back_longitude = to_latlon(to_xyz(latitude, longitude))
    assert back_latitude == pytest.approx(latitude, abs=1e-10)
    assert (back_longitude - longitude + 180) % 360 - 180 == pytest.approx(0, abs=1e-10)
    assert 0 <= back_longitude < 360


@pytest.mark.parametrize(
    ("a", "b", "degrees"),
    [
        ((0, 0), (0, 90), 90),
        ((0, 0), (0, 180), 180),
        ((90, 0), (-90, 45), 180),
        ((0, 359), (0, 1), 2),
        ((60, 0), (60, 180), 60),  # over the pole
        ((10, 20), (10, 20), 0),
    ],
)
def test_great_circle_distances_are_the_known_ones(a, b, degrees) -> None:
    assert great_circle_distance(to_xyz(*a), to_xyz(*b)) == pytest.approx(np.radians(degrees), abs=1e-12)


def test_great_circle_distance_matches_a_published_route() -> None:
    # Paris (48.8566 N, 2.3522 E) to New York (40.7128 N, 74.0060 W): 5,837 km on a sphere of 6,371 km.
    angle = great_circle_distance(to_xyz(48.8566, 2.3522), to_xyz(40.7128, -74.0060))
    assert angle * 6371 == pytest.approx(5837, abs=1)


def test_small_distances_keep_their_digits() -> None:
    step = 1e-7  # [degrees], 1 cm
    assert great_circle_distance(to_xyz(50, 7), to_xyz(50 + step, 7)) == pytest.approx(np.radians(step), rel=1e-6)


@quick
@given(latitudes, longitudes)
def test_tangent_frames_are_orthonormal_and_right_handed(latitude: float, longitude: float) -> None:
    up = to_xyz(latitude, longitude)
    east, north = tangent_frames(up)
    frame = np.stack([east, north, up])
    assert frame @ frame.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.cross(east, north) == pytest.approx(up, abs=1e-12)
    assert east[2] == 0
    assert north[2] >= -1e-15


@quick
@given(latitudes, longitudes, latitudes, longitudes)
def test_displacement_is_as_long_as_the_great_circle(lat_a, lon_a, lat_b, lon_b) -> None:
    a, b = to_xyz(lat_a, lon_a), to_xyz(lat_b, lon_b)
    distance = float(great_circle_distance(a, b))
    if distance > np.pi - 1e-6:  # antipodes lie in every direction
        return
    assert np.hypot(*tangent_displacement(a, b)) == pytest.approx(distance, abs=1e-12)


def test_displacement_points_the_way_the_compass_says() -> None:
    origin = to_xyz(np.zeros(4), np.full(4, 359.0))
    east, north = tangent_displacement(origin, to_xyz([0, 0, 1, -1], [1, 357, 359, 359]))
    assert np.degrees(east) == pytest.approx([2, -2, 0, 0], abs=1e-12)
    assert np.degrees(north) == pytest.approx([0, 0, 1, -1], abs=1e-12)


@quick
@given(st.floats(-85, 85), st.floats(0, 359), st.floats(-85, 85), st.floats(0, 359))
def test_transport_along_a_great_circle_keeps_the_angle_to_it(lat_a, lon_a, lat_b, lon_b) -> None:
    a, b = to_xyz(lat_a, lon_a), to_xyz(lat_b, lon_b)
    if not 1e-3 < great_circle_distance(a, b) < np.pi - 1e-3:
        return
    forward = np.array(tangent_displacement(a, b))  # tangent to the arc at a, towards b
    onward = -np.array(tangent_displacement(b, a))  # the same direction on arrival
    cosine, sine = parallel_transport(a, b)
    carried = [cosine * forward[0] - sine * forward[1], sine * forward[0] + cosine * forward[1]]
    assert carried == pytest.approx(onward, abs=1e-9)
    back_cosine, back_sine = parallel_transport(b, a)
    assert (back_cosine, back_sine) == pytest.approx((cosine, -sine), abs=1e-9)


def test_transport_turns_nothing_on_the_equator_or_along_a_meridian() -> None:
    cosine, sine = parallel_transport(to_xyz([0, 10], [0, 30]), to_xyz([0, 60], [70, 30]))
    assert cosine == pytest.approx([1, 1], abs=1e-12)
    assert sine == pytest.approx([0, 0], abs=1e-12)


def test_transport_around_a_triangle_turns_by_its_area() -> None:
    # The octant of three right angles: holonomy = area = π / 2 (Gauss-Bonnet).
    corners = to_xyz([0, 0, 60], [0, 90, 20])
    turn = 0.0
    for start, end in ((0, 1), (1, 2), (2, 0)):
        cosine, sine = parallel_transport(corners[start], corners[end])
        turn += np.arctan2(sine, cosine)
    area = triangle_areas(*corners)
    assert np.exp(1j * turn) == pytest.approx(np.exp(1j * area), abs=1e-12)


def test_transport_is_finite_for_equal_and_opposite_points() -> None:
    a = to_xyz([10, 10, 90], [20, 20, 0])
    b = np.concatenate([a[:1], -a[1:]])
    cosine, sine = parallel_transport(a, b)
    assert cosine**2 + sine**2 == pytest.approx(np.ones(3))
    assert cosine[0] == pytest.approx(1)


def test_areas_of_triangles_and_bands_are_the_known_ones() -> None:
    x, y, z = np.eye(3)
    assert triangle_areas(x, y, z) == pytest.approx(np.pi / 2)
    assert triangle_areas(x, z, y) == pytest.approx(-np.pi / 2)
    assert 2 * np.pi * band_areas(np.array([-90.0, 0.0, 90.0])) == pytest.approx([2 * np.pi, 2 * np.pi])
