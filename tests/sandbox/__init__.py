"""Tests of the local Flashback: its servers inside the test's loop, and as real processes."""
