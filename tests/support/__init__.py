"""Helpers of the tests: sounds, damaged files, reference implementations."""
