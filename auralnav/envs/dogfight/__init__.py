"""Dogfight: 2-D team combat on a torus, as one compiled tick for CPU and CUDA."""
