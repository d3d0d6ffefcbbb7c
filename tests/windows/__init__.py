"""Tests of geometry, sets, orders, shards, labels."""
