"""Which test covers which part of the protocol: a collector, and docs/protocol-coverage.md.

`python -m tests.protocol_coverage` writes the document; a test fails when it is not up to date,
when a row has no test and no reason, and when a test cites a row that does not exist.
"""
