"""Tests of applying a model, and of its results."""
