"""Where things are, and what touches what: meshes, graphs and the geometry they stand on."""
