"""The meshes: rings, grids, icospheres, points, and windows of them."""
