"""Tests of planning, reading, collating, delivering."""
