"""Tests from files to batches: real recordings, damaged files, processes."""
