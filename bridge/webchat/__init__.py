"""The WebChat protocol as pure functions and values: no I/O, no clock, no randomness, no logging.

`codes` are its numbers and what they mean, `frames` its values. `write` turns commands into wire
text and is strict; `read` turns wire text into replies and pushes and is tolerant; the spelling of
keys stands in these two and nowhere else. `protocol` pairs replies with commands, `http` holds what
travels outside the socket, `words` what becomes of texts. What the vendor's guide leaves open is
settled in `PROTOCOL.md`, each reading with the code and the test that keep it.
"""
