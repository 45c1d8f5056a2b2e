"""The WebChat protocol as pure functions and values: no I/O, no clock, no randomness, no logging.

`codes` has the numbers and their meaning, `frames` the values. The strict `protocol` encodes
commands and pairs replies with them, the tolerant `read` decodes replies and pushes; only these two
know the wire's key names. `http` has the bodies of HTTP requests, `words` prepares texts.
`PROTOCOL.md` settles what the vendor's guide leaves open, with the code and test of each reading.
"""
