"""Tests of README, docs, examples, notebook and benchmarks: everything in them runs."""
