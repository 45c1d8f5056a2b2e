"""What the call centre's server says in words of its own, as a customer may read it.

An answer carries a `message` for people (reference 1.1), often empty or a token for programmers.
Where our own sentence knows too little, that is after a plain failure (0), a code that no guide
knows, and outside working hours (-3: until when?), the server's words follow it (reference 2.5).
"""

from __future__ import annotations

import html

from bridge.conversation.turn import Turn
from bridge.media.plaintext import html_to_text
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import Reply

LONGEST = 300
"""Characters of the server's that are shown."""
_SAY_LITTLE = frozenset({ResultCode.FAILURE, ResultCode.NOT_IN_WORKTIME})


def plain(fragment: str) -> str:
    """The words of an HTML fragment; a text without any element keeps its lines."""
    if "<" not in fragment:
        return html.unescape(fragment).strip()
    text = html_to_text(fragment)
    return fragment.strip() if text is None else text.strip()


def words(reply: Reply) -> str:
    """The message of a reply, on one line; empty if there is nothing in it to be read.

    That is all that is a single ASCII word: `ok`, `fail`, `SYSTEM_ERROR`.
    """
    seen = (one for one in plain(reply.message) if one.isprintable() or one.isspace())
    line = " ".join("".join(seen).split())
    if line.isascii() and " " not in line:
        return ""
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def reason(reply: Reply) -> str:
    """The same, but only where it says more of a refusal than our own sentence."""
    known = reply.result in set(ResultCode) - _SAY_LITTLE
    return "" if known else words(reply)


def say(turn: Turn, line: str) -> None:
    """Pass on what the server said, unless that is nothing."""
    if line:
        turn.say("trouble.server_says", {"text": line})
