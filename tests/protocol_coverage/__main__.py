"""`python -m tests.protocol_coverage`: update the test column of docs/protocol-coverage.md."""

from __future__ import annotations

import sys

from tests.protocol_coverage.coverage import DOCUMENT, up_to_date

if __name__ == "__main__":
    try:
        text = up_to_date()
    except ValueError as error:
        sys.exit(str(error))
    DOCUMENT.write_text(text, encoding="utf-8")
