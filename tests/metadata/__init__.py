"""Tests of what recorders write into headers and names."""
