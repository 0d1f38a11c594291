"""A forecast without truth is drawn variable by variable, at one place, and lead by lead."""

from pathlib import Path

from PIL import Image

from inference.pictures.forecast_pictures import write_pictures
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth


def test_a_ring_and_an_area_have_the_pictures_of_their_kind(tmp_path: Path) -> None:
    ring = ring_forecast(ring_truth(num_nodes=16, trajectories=1, times=7), leads=6)
    isles = isles_forecast(isles_truth(days=1, rows=5, columns=6), leads=3, every=12)
    for forecast, first in ((ring, "hovmoeller_u.png"), (isles, "maps_2t.png")):
        written = write_pictures(forecast, tmp_path / first)
        assert [path.name for path in written] == [first, "series.png", "animation.gif"]
        assert all(path.is_file() for path in written)
        with Image.open(written[-1]) as image:
            assert image.n_frames == len(forecast.lead_steps), "a frame a lead time"
