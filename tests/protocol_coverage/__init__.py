"""Coverage of the protocol reference by tests, and its document docs/protocol-coverage.md.

`python -m tests.protocol_coverage` updates the document. A test fails if it is not up to date, if
a row has neither a test nor a reason, or if a test cites a row that does not exist.
"""
