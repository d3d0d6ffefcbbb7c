"""Tests of resampling, log-mel spectrograms, levels."""
