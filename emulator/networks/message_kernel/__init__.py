"""Kernel messages in one pass over the edges: their C++ source, its compilation, and the operator of PyTorch.

Where there is no library, as without a compiler, `emulator/networks/layers/angular_kernels.py` uses sparse products.
"""
