"""The edges of a network's graphs: which nodes are connected, and what each edge knows."""
