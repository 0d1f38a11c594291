"""Detectors live here: the plausibility of a history, the equation of a trajectory, mirror symmetry."""
