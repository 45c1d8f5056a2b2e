"""Generator of docs/openapi.json and of the table of API operations in docs/api.md.

Run it after an operation has changed:

    python -m tests.support.api_table
"""

from __future__ import annotations

import json
from pathlib import Path

from bridge.admin.operations import OPERATIONS, Who
from bridge.admin.provisioning import document

DOCS = Path(__file__).parents[2] / "docs"
PAGE, DOCUMENT = DOCS / "api.md", DOCS / "openapi.json"
BEGIN, END = "<!-- operations -->", "<!-- end of operations -->"


def openapi() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def table() -> str:
    """Return the operations as a Markdown table."""
    lines = ["| request | what | room admins, too |", "| --- | --- | --- |"]
    for one in OPERATIONS:
        beside = f" ({', '.join(f'`{name}`' for name in one.beside)})" if one.beside else ""
        admins = "yes" if one.who is Who.ROOM_ADMIN else ""
        lines.append(f"| `{one.method} {one.path}`{beside} | {one.summary} | {admins} |")
    return "\n".join(lines)


def page() -> str:
    """Return the page with an up-to-date table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(openapi(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
