"""The map: areas are true, the way back leads home, and arrows point where the wind blows."""

import numpy as np
import pytest

from inference.pictures.map_projection import HALF_HEIGHT, HALF_WIDTH, directions, outline, project, unproject


def test_the_projection_is_that_of_its_paper() -> None:
    a1, a2, a3, a4, shrink = (
        1.340264,
        -0.081106,
        0.000893,
        0.003796,
        np.sqrt(3.0) / 2.0,
    )  # Šavrič et al. (2019), eq. 1-4
    longitude, latitude = np.meshgrid(np.linspace(-180, 180, 25), np.linspace(-90, 90, 19))
    theta = np.arcsin(shrink * np.sin(np.radians(latitude)))
    slope = a1 + 3 * a2 * theta**2 + theta**6 * (7 * a3 + 9 * a4 * theta**2)
    height = theta * (a1 + a2 * theta**2 + theta**6 * (a3 + a4 * theta**2))
    x, y = project(longitude, latitude)
    np.testing.assert_allclose(x, np.radians(longitude) * np.cos(theta) / (shrink * slope), atol=1e-6)
    np.testing.assert_allclose(y, height, atol=1e-6)


def test_the_way_back_from_the_plane_leads_home() -> None:
    random = np.random.default_rng(0)
    longitude, latitude = random.uniform(-180, 180, 500), np.degrees(np.arcsin(random.uniform(-1, 1, 500)))
    back = unproject(*project(longitude, latitude))
    np.testing.assert_allclose(back, (longitude, latitude), atol=1e-9)


def test_areas_on_the_map_are_those_on_the_sphere() -> None:
    x, y = outline(4001).T
    assert 0.5 * abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) == pytest.approx(4 * np.pi, rel=1e-5)
    for latitude in (0.0, 40.0, 80.0):  # the Jacobian is the cosine of latitude
        step = np.degrees(1e-5)
        east, north = (
            (np.stack(project(30 + a * step, latitude + b * step)) - project(30.0, latitude)) / 1e-5
            for a, b in ((1, 0), (0, 1))
        )
        assert east[0] * north[1] - east[1] * north[0] == pytest.approx(np.cos(np.radians(latitude)), rel=1e-4)


def test_the_corners_of_the_plane_are_no_place_on_the_globe() -> None:
    assert np.isnan(unproject(0.99 * HALF_WIDTH, 0.99 * HALF_HEIGHT)).all()
    assert np.isnan(unproject(0.0, 1.01 * HALF_HEIGHT)).all()
    assert pytest.approx(2.05, abs=0.01) == HALF_WIDTH / HALF_HEIGHT  # Šavrič et al. (2019), section 3


def test_an_arrow_follows_the_winds_path_and_keeps_its_speed() -> None:
    longitude, latitude = np.array([0.0, 100.0, -100.0]), np.array([0.0, 50.0, -50.0])
    x, y = directions(longitude, latitude, np.full(3, 30.0), np.zeros(3))
    np.testing.assert_allclose((x, y), ([30.0] * 3, [0.0] * 3), atol=1e-6)  # parallels are straight lines
    x, y = directions(longitude, latitude, np.zeros(3), np.full(3, 20.0))
    np.testing.assert_allclose(np.hypot(x, y), 20.0)
    assert x[0] == pytest.approx(0.0)
    assert x[1] < -1 and x[2] < -1  # meridians lean towards the middle poleward, and away from it equatorward
