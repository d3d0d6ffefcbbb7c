"""Tests of finding files, headers, verification, tables."""
