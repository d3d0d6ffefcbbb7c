"""Tests of the adapters for PyTorch and JAX, with Lightning and Accelerate."""
