"""What some servers do to a customer's text, and how to write it so that it survives.

Both are off unless an operator has seen the trouble: the guide wants the text as it was typed.

- A desk that takes every text for HTML swallows `1 < 2` (trap T35): escaped, it shows it.
- A server with json-lib takes a text such as `[1]`, `{a}` or `null` for JSON and puts quotes around
  it (trap T24): behind a zero-width space it is a text again.
"""

from __future__ import annotations

import html

_GUARD = "\u200b"
_BRACKETS = (("[", "]"), ("{", "}"))


def escaped(text: str) -> str:
    """The text for a desk that reads HTML; quotes need no escape outside of attributes."""
    return html.escape(text, quote=False)


def guarded(text: str) -> str:
    """The text for a server that takes what looks like JSON for JSON."""
    words = text.strip()
    json_like = words == "null" or any(
        words.startswith(left) and words.endswith(right) for left, right in _BRACKETS
    )
    return f"{_GUARD}{text}" if json_like else text
