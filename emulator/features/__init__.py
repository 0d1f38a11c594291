"""States are turned into the normalised features of a network here, and its output back into a state."""
