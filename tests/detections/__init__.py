"""Tests of label files and their matching."""
