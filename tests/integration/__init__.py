"""Tests of whole paths: real recordings, damaged files, processes."""
