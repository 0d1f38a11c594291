"""The message passing of other models and of a library, to rank beside ours: GraphCast, Anemoi, PyTorch Geometric.

Each is a configuration and the rounds of messages it builds, for the processor of the graph network.
"""
