"""Simulator of a WebChat server, for tests, the demo, and other clients."""
