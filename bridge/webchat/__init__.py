"""The WebChat protocol as pure functions and values: no I/O, no clock, no randomness, no logging.

`frames` and `codes` are the words, `codec` turns them into wire text and back, `protocol` pairs
replies with commands, `http` holds the bodies that travel outside the socket. What the vendor's
guide leaves open is settled in `PROTOCOL.md`, each reading with the code and the test that keep it.
"""
