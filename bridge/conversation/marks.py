"""Telling what was missed: the marks of what was shown, compared with a history (see `outage`).

A line and a mark are paired if their content is the same to the last byte, else if their words are,
each time in their order; so of equal ones the last were missed. A mark without words (a picture's)
fits every line without words, and of these lines one may be text that looks like a placeholder.
So where one of them was missed, each that reads differently is shown, once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import SequenceMatcher
from hashlib import blake2b
from statistics import median_low

import msgspec

from bridge.conversation.model import Heard
from bridge.ids import AgentId, SessionId
from bridge.media.plaintext import html_to_text
from bridge.webchat.frames import AgentContent, AgentText
from bridge.webchat.http import HistoryEntry
from bridge.webchat.words import decode_emoji

MOST_HEARD = 40
"""Marks that are remembered, in 2 KB a room; what is older than they is no longer looked for."""
MOST_RECALLED = 100
"""Entries of a history that are asked for."""
NEAR, FAR = 30_000, 120_000
"""ms that are allowed for where the server's clock could be compared with ours, and where not."""

_NO_WORDS = "\0"
_PLACEHOLDER = re.compile(r"[\[【{].*", re.DOTALL)
"""How a history tells of a picture or a file: `[图片]`, or raw JSON; nobody documents it."""


class Line(msgspec.Struct, frozen=True):
    """A line of the history that an agent wrote."""

    place: int
    entry: HistoryEntry
    mark: str
    known: bool = False
    """Shown for safety: it has a mark already."""


class Clocks(msgspec.Struct, frozen=True):
    """By how many ms the server's clock is ahead of ours: between `low` and `high`."""

    low: int = -FAR
    high: int = FAR
    usual: int = 0


# --- marks --------------------------------------------------------------------------------------


def mark_of(agent_id: str, fragment: str) -> str:
    """A digest of agent and words, the same for a push and for its entry in the history.

    Files are told of by placeholders there, so all content without words is the same.
    """
    shown = decode_emoji(fragment)
    text = html_to_text(shown) if "<" in shown or "&" in shown else shown
    words = " ".join((shown if text is None else text).split())
    if not words or _PLACEHOLDER.fullmatch(words):
        words = _NO_WORDS
    return _digest(agent_id, words.encode("utf-8", "replace"))


def exact_mark(agent_id: str, content: AgentContent) -> str:
    """A digest of agent and content to the last byte."""
    return _digest(agent_id, msgspec.json.encode(content))


def _digest(agent_id: str, content: bytes) -> str:
    head = f"{agent_id}\n".encode("utf-8", "replace")
    return blake2b(head + content, digest_size=6).hexdigest()


# --- comparing ----------------------------------------------------------------------------------


def compare(heard: Sequence[Heard], lines: Sequence[Line]) -> Clocks:
    """Compare the clocks by what was said once and shown once; some of it was long under way.

    By what was pushed, that is: of what a history told, no moment is ours.
    """
    shown = [one for one in heard if not one.id]
    pushed = [one for one in shown if one.exact]
    times = Counter(one.mark for one in shown)
    entries = Counter(line.mark for line in lines)
    came = {one.mark: one.at for one in pushed}
    found = [
        line.entry.posted - came[line.mark]
        for line in lines
        if line.entry.posted and entries[line.mark] == times[line.mark] == 1 and line.mark in came
    ]
    if not found:
        return Clocks()
    return Clocks(min(found) - NEAR, max(found), median_low(found))


def missed(
    heard: tuple[Heard, ...], lines: Sequence[Line], since: int, clocks: Clocks
) -> tuple[list[Line], tuple[Heard, ...]]:
    """The lines that nobody has shown, in their order, and what is known of the marks then.

    Args:
        heard: the marks.
        lines: all that agents wrote, as the history has it.
        since: up to when everything was surely heard, ms by our clock.
        clocks: what `compare` found.
    """
    open_lines = _open(heard, lines, since, clocks)
    pairs = _paired(heard, open_lines)
    left = [line for line in open_lines if line.place not in pairs]
    before = [
        place
        for place, index in pairs.items()
        if heard[index].exact and heard[index].at <= since  # pushed: the moment is ours
    ]
    # Where nothing is known of that time: what follows a line that was shown.
    last = max(before or [line.place for line in lines if line not in left], default=len(lines))
    likely = [
        line
        for line in open_lines
        if line.place in pairs and heard[pairs[line.place]].exact != _exact(line)
    ]
    unsure = _differing(left, likely, max(before, default=-1))
    known = list(heard)
    for line in unsure:
        index = pairs[line.place]
        known[index] = msgspec.structs.replace(known[index], id=line.entry.id)
    begin = since + clocks.low
    found = [
        line
        for line in sorted([*left, *unsure], key=lambda line: line.place)
        if not line.entry.revoked
        # A line without a time counts if it follows one that was shown.
        and (line.entry.posted >= begin if line.entry.posted else line.place > last)
    ]
    return found, tuple(known)


def is_doubtful(
    heard: tuple[Heard, ...],
    entries: Sequence[HistoryEntry],
    lines: Sequence[Line],
    since: int,
    clocks: Clocks,
) -> bool:
    """True if something may be missing that cannot be found: forgotten here, or not told there.

    Args:
        heard: the marks.
        entries: the history as it came.
        lines: what agents wrote of it.
        since: up to when everything was surely heard, ms by our clock.
        clocks: what `compare` found.
    """
    begin = since + clocks.usual
    if len(entries) >= MOST_RECALLED and entries[0].posted > begin:
        return True
    if len(heard) < MOST_HEARD:
        return False
    return any(begin < line.entry.posted < heard[0].at + clocks.usual for line in lines)


def left_out(
    heard: tuple[Heard, ...],
    entries: Sequence[HistoryEntry],
    session_id: SessionId,
    since: int,
    ids: Collection[AgentId],
) -> tuple[bool, tuple[Heard, ...]]:
    """Whether words of this chat that were shown are absent where the history has to have them.

    It must have the newest that were heard before the outage, for we ask about what follows them;
    and all that follow any that it has. What is older may lie beyond the end of its page. Whose
    words they are said to be does not matter: the socket and the history may name people
    differently.

    Args:
        heard: the marks.
        entries: the history as it came, newest last.
        session_id: the chat.
        since: up to when everything was surely heard, ms by our clock.
        ids: who takes part.

    Returns:
        Also the marks, changed so that what is absent is told once. Only of the newest words it is
        told each time, as more may have been missed by then.
    """
    order = sorted(range(len(heard)), key=lambda index: heard[index].at)
    shown = [heard[index].mark for index in order]
    told = _shown_of(entries, frozenset(shown), ids)
    blocks = SequenceMatcher(None, shown, told, autojunk=False).get_matching_blocks()
    paired = {place for block in blocks for place in range(block.a, block.a + block.size)}
    times, copies = Counter(shown), Counter(told)
    # Words may stand in another order there; of equal ones that are too few, order tells which.
    there = [place in paired or copies[mark] >= times[mark] for place, mark in enumerate(shown)]
    due = [
        place
        for place, index in enumerate(order)
        if heard[index].session == session_id and heard[index].at <= since
    ]
    if not due:
        return False, heard
    begin = next((place for place in due if there[place]), due[-1])
    absent = [place for place in due if place >= begin and not there[place]]
    known = list(heard)
    for place in absent:
        if place != due[-1]:
            known[order[place]] = msgspec.structs.replace(known[order[place]], session=None)
    return bool(absent), tuple(known)


def _shown_of(
    entries: Sequence[HistoryEntry], shown: frozenset[str], ids: Collection[AgentId]
) -> list[str]:
    """The marks that the lines of a history fit, in their order, whoever is said to speak."""
    fitting = (
        next(
            (mark for who in (entry.agent_id, *ids) if (mark := mark_of(who, entry.html)) in shown),
            "",
        )
        for entry in entries
    )
    return [mark for mark in fitting if mark]


def _open(
    heard: tuple[Heard, ...], lines: Sequence[Line], since: int, clocks: Clocks
) -> list[Line]:
    """The lines that the marks can say something of."""
    told = {one.id for one in heard if one.id}
    first = heard[0].at if heard else since
    if len(heard) == MOST_HEARD:
        horizon = first + clocks.usual  # what is older was forgotten, and not missed
    else:
        horizon = min(first, since) + clocks.usual - FAR
    return [
        line
        for line in lines
        if not (line.entry.id and line.entry.id in told)
        and (not line.entry.posted or line.entry.posted >= horizon)
    ]


def _paired(heard: tuple[Heard, ...], lines: Sequence[Line]) -> Mapping[int, int]:
    """The lines that were shown, by place, each with the index of its mark."""
    pairs: dict[int, int] = {}

    def pair(key_of_line: Callable[[Line], str], key_of_mark: Callable[[Heard], str]) -> None:
        taken = set(pairs.values())
        free: defaultdict[str, deque[int]] = defaultdict(deque)
        for index, one in enumerate(heard):
            if not one.id and index not in taken:
                free[key_of_mark(one)].append(index)
        for line in lines:
            if line.place not in pairs and free[key_of_line(line)]:
                pairs[line.place] = free[key_of_line(line)].popleft()

    pair(_exact, lambda one: one.exact)
    pair(lambda line: line.mark, lambda one: one.mark)
    return pairs


def _exact(line: Line) -> str:
    return exact_mark(line.entry.agent_id, AgentText(line.entry.html))


def _differing(left: Sequence[Line], likely: Sequence[Line], last: int) -> list[Line]:
    """Lines behind `last` that may have been missed in place of one of `left` without words.

    `likely`: they are paired, but not to the last byte.
    """
    shown = {(line.mark, line.entry.html) for line in left}
    without_words = {line.mark for line in left if line.mark == _mark_of_none(line.entry.agent_id)}
    found = []
    for line in likely:
        key = line.mark, line.entry.html
        if line.mark in without_words and line.place > last and key not in shown:
            shown.add(key)
            found.append(msgspec.structs.replace(line, known=True))
    return found


def _mark_of_none(agent_id: AgentId) -> str:
    return mark_of(agent_id, "")
