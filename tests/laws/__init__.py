"""Tests of the five laws, as properties."""
