"""Tests that others wrote for the same decisions, with their numbers; one module per source, see README.md."""
