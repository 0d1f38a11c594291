"""Short trials of an experiment with other settings live here: what may be tried, what is tried next, and what came."""
