"""Spherical harmonics: the functions, their transforms, and fields at any nodes."""
