"""Tests of the adapters to torch and JAX, Lightning and Accelerate."""
