"""Tests of packing recordings into shards."""
