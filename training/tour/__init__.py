"""Everything of the architecture tour lives here, from sampled functions to its plots."""
