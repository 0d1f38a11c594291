"""The Well's HDF5 files of fields on the sphere: read, one or several as one, and written.

The format: Ohana et al. (2024), The Well, arXiv:2412.00568, and docs/data_format.md of its repository.
"""
