"""Constants of the Earth."""

from __future__ import annotations

RADIUS = 6.37122e6  # [m], Williamson et al. (1992), section 2
ROTATION = 7.292e-5  # [s-1], the same
GRAVITY = 9.80616  # [m s-2], the same
DAY = 86_400.0  # [s]
