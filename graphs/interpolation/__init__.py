"""Interpolation from the nodes of one mesh to those of another: nearest, bilinear, conservative."""
