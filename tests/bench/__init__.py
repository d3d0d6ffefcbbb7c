"""Tests of the synthetic archive, the sweep and its plot."""
