"""Frames of a slider show each its own lead time, in the colours of all."""

import numpy as np

from inference.pictures.field_maps import moving_maps
from inference.pictures.forecast_pictures import moving_picture
from tests.inference.synthetic import ring_forecast, ring_truth, sphere_forecast, sphere_truth


def test_maps_move_to_every_lead_time_and_keep_their_colours() -> None:
    truth = sphere_truth()
    moving = moving_maps(sphere_forecast(truth), truth, "h")
    shown, limits = [], []
    for place in (0, 5):
        moving.show(place)
        axes = moving.figure.axes[:3]
        shown.append([np.ma.filled(panel.images[0].get_array(), 0.0) for panel in axes])
        limits.append([panel.images[0].get_clim() for panel in axes])
        assert axes[1].get_title("left") == f"GNN, {'6 hours' if place == 0 else '36 hours'}"
    assert limits[0] == limits[1] and limits[0][0] == limits[0][1] != limits[0][2]
    assert not np.allclose(shown[0][0], shown[1][0])
    np.testing.assert_allclose(shown[1][1] - shown[1][0], shown[1][2], atol=1e-2)  # the error is the difference


def test_a_ring_moves_with_the_forecast() -> None:
    truth = ring_truth(num_nodes=32, trajectories=2, times=11)
    forecast = ring_forecast(truth, leads=10)
    moving = moving_picture(forecast, truth, case=1)
    moving.show(7)
    lines = {line.get_label(): line for line in moving.figure.axes[0].lines}
    np.testing.assert_array_equal(lines["GNN"].get_ydata(), forecast.values[1, 0, 7, :, 0])
    np.testing.assert_array_equal(lines["truth"].get_ydata(), truth.values[8, 1, :, 0])
    assert moving.figure.axes[0].get_title("left") == "trajectory 1, lead time 0.8"


def test_frames_are_spread_from_the_first_to_the_last_lead_time() -> None:
    truth = ring_truth(num_nodes=16, trajectories=1, times=21)
    moving = moving_picture(ring_forecast(truth, leads=20), truth)
    assert moving.spread(3) in ([0, 10, 19], [0, 9, 19]) and moving.spread(99) == list(range(20))
    frames = list(moving.frames(moving.spread(3), dpi=40))
    assert len({picture.size for picture in frames}) == 1 and len({picture.tobytes() for picture in frames}) == 3
