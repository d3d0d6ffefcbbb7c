"""Tests of the prefetcher."""
