"""A virtual-time simulation of clients, nodes and their faults, to measure routers against an oracle."""
