"""Servers for benchmarks that measure the client."""
