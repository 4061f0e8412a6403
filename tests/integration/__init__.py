"""Tests over real sockets: this package against the sandbox's gateways, or servers scripted in the test."""
