"""`python -m tests.protocol_coverage`: writes docs/protocol-coverage.md."""

from __future__ import annotations

import sys

from tests.protocol_coverage.document import DOCUMENT, NotCovered, check, found, text

if __name__ == "__main__":
    covered = found()
    try:
        check(covered)
    except NotCovered as error:
        sys.exit(str(error))
    DOCUMENT.write_text(text(covered), encoding="utf-8")
