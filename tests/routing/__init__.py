"""Tests of the routing core: no event loop, no clock, no sleep; `now` is an argument, chance is seeded."""
