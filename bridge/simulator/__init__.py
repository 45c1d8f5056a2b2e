"""The WebChat server of the 2016 guide, simulated: for tests, the demo, and other clients."""
