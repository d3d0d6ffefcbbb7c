"""Tests of statistics, verdicts, traces, the live view."""
