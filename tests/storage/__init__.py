"""Tests of places, tars and tables."""
