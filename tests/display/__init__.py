"""Tests of the preview page and the notebook cards."""
