"""The equations, their integrators and the simulations that make true trajectories live here."""
