"""Networks map the features of every node to its change over one time step."""
