"""docs/openapi.json, and the table of docs/api.md between its two marks, of the operations.

To write them again, after an operation has changed:

    python -m tests.support.api_table
"""

from __future__ import annotations

import json
from pathlib import Path

from bridge.admin.openapi import document
from bridge.admin.operations import OPERATIONS, Who

DOCS = Path(__file__).parents[2] / "docs"
PAGE, DOCUMENT = DOCS / "api.md", DOCS / "openapi.json"
BEGIN, END = "<!-- operations -->", "<!-- end of operations -->"


def openapi() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def table() -> str:
    """The operations as a table of Markdown."""
    lines = ["| request | what | room admins, too |", "| --- | --- | --- |"]
    for one in OPERATIONS:
        beside = f" ({', '.join(f'`{name}`' for name in one.beside)})" if one.beside else ""
        admins = "yes" if one.who is Who.ROOM_ADMIN else ""
        lines.append(f"| `{one.method} {one.path}`{beside} | {one.summary} | {admins} |")
    return "\n".join(lines)


def page() -> str:
    """The page with the table of today."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(openapi(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
