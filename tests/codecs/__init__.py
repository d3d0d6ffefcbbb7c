"""Tests of what a file is and how it is decoded."""
