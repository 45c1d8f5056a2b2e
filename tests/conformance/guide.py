"""The example frames of the vendor's guide, extracted from its text.

The guide is not in this repository; its frames are, in `guide_2016.json`, one per line in the order
of the text: 13 of requests (five of them contents), 9 of answers, 6 of pushes; robotSearch's answer
is omitted. They were extracted from the Markdown of 2017-11-13 by

    python -m tests.conformance.guide GUIDE.md > tests/conformance/guide_2016.json

The examples are not JSON: they have comments, keys and strings in any quotes or none, and missing
or full-width commas (trap T1).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FRAMES: tuple[dict[str, object], ...] = tuple(
    json.loads(line)
    for line in Path(__file__).with_name("guide_2016.json").read_text("utf-8").splitlines()
)
_TOKEN = re.compile(
    r"""(?://[^\n]*|[\s>]+)*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d[\d.]*|\w+|\S)"""
)


def cut(text: str) -> Iterator[dict[str, object]]:
    """Yield every object literal in the text that contains only values."""
    tokens = [found[1] for found in _TOKEN.finditer(text)]
    at = 0
    while at < len(tokens):
        if tokens[at] == "{":
            try:
                found, at = _object(tokens, at + 1)
            except (ValueError, IndexError):
                pass
            else:
                yield found
                continue
        at += 1


def _object(tokens: list[str], at: int) -> tuple[dict[str, object], int]:
    """Return the object after its opening brace, and the index after it."""
    members: dict[str, object] = {}
    while tokens[at] != "}":
        if tokens[at + 1] != ":":
            raise ValueError(f"no key: {tokens[at]}")
        members[tokens[at].strip("'\"")], at = _value(tokens, at + 2)
        at += tokens[at] in {",", "，"}
    return members, at + 1


def _value(tokens: list[str], at: int) -> tuple[object, int]:
    token = tokens[at]
    if token == "{":
        return _object(tokens, at + 1)
    if token == "[":
        items: list[object] = []
        at += 1
        while tokens[at] != "]":
            item, at = _value(tokens, at)
            items.append(item)
            at += tokens[at] == ","
        return items, at + 1
    if token.startswith("'"):
        return token[1:-1], at + 1
    return json.loads(token), at + 1


if __name__ == "__main__":
    for frame in cut(Path(sys.argv[1]).read_text("utf-8")):
        if "searchResult" not in frame:
            sys.stdout.write(json.dumps(frame, ensure_ascii=False) + "\n")
