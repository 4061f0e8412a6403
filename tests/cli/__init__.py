"""Tests of the `flashback` command."""
