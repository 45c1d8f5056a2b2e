"""Recovery of agents' messages missed in an outage, from WebChat's history (row 31).

Most servers lose a push that finds no link, and pushes have neither number nor server time
(reference 1.4). A later server keeps a history (3.8), whose entries have both. The *marks* of the
messages relayed lately (digest of agent and words, arrival time) are compared with it: an entry
without a mark that is not older than the outage was missed, and is shown once.

- Entries and marks are paired by identical content, then by identical words, each time in order.
  Equal messages are counted: the surplus entries, the last ones, were missed.
- A push of a message that the history supplied already is not shown again. It may be the same words
  said anew, so the history is fetched once more, and a surplus entry is shown after all.
- A server without history and receipts may repeat the last push on a new link (trap T34): identical
  content of the same agent within 3 s, with the new link in between, counts as one message.
- Pictures and files are all the same placeholder in the history, like an agent's text that begins
  with a bracket. Every pushed one is shown; if one was missed, each history entry that may be it is
  shown, distinct texts once.
- A shown message that the history marks as taken back (`revokeFlag`) is redacted, on each fetch:
  the Matrix lane knows which redactions are done.
- The customer is told that messages may be missing if more were sent than the marks or the history
  hold, if the history stays unavailable, or if it lacks messages of this chat that were shown. A
  server with receipts (`rsId`) repeats lost pushes itself; without receipts and history they are
  lost for good, which the customer is told unless the link was lost only for a moment.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from hashlib import blake2b
from statistics import median_low
from struct import Struct

import msgspec
from msgspec.structs import astuple, replace

from bridge.conversation import model
from bridge.conversation.queue import visible
from bridge.conversation.turn import UNSURE, UNWATCHED, Turn
from bridge.ids import AgentId, CallId, SessionId
from bridge.media.plaintext import html_to_text
from bridge.webchat.frames import Agent, AgentContent, AgentText, RequestChat, UnknownContent
from bridge.webchat.http import HistoryEntry
from bridge.webchat.words import decode_emoji

SETTLING = 15_000
"""ms after a restart of the bridge for the link to open before the history is fetched, unless a
call is answered sooner."""
TRIES = 8
"""Maximum number of attempts to fetch a history, over more than an hour."""
FIRST_PAUSE = 30_000
"""Minimum ms until the second attempt, the maximum being twice that; doubled for each further."""
REPEATED_WITHIN = 3_000
"""ms within which two identical pushes are one message (trap T34)."""
AWAITED = 120_000
"""ms within which a message from the history may still be pushed as well."""
UNSURE_AGAIN = 10 * 60_000
"""ms for which one line stands for later losses, too: as in a rolling restart. Whoever read it
longer ago, and missed nothing, still waits for an answer, which a later loss may have taken."""
_STRIDE = 7_919
MOST_HEARD = 40
"""Maximum number of marks per room, 0.7 KB; messages older than the oldest mark are ignored."""
MOST_RECALLED = 100
LONGEST_READ = 10_000
"""Maximum characters of a message whose words are compared; a longer one is compared as it is. To
read a hundred messages of long HTML would take seconds."""
NEAR, FAR = 30_000, 120_000
"""Clock tolerance in ms, if the server's clock could be compared with the bridge's, and if not."""
_NO_WORDS = "\0"
_PLACEHOLDERS = ("[", "【", "{")
"""First character of a picture or file in a history: `[图片]`, or raw JSON; undocumented."""

_DIGEST = 6
_STAMP, _MARK, _EXACT = 6, 5, 2
"""Bytes of a packed mark: a stamp, and the first bytes of the two digests.

The stamp, big-endian, is the time in ms; its last bits are the session's index in `Marks.sessions`,
from 1, or 0. Chance of equal marks: 1 in 10^12; of equal exact digests for messages with one mark:
1 in 65,536."""
_LAYOUT = Struct(f"{_STAMP}s{_MARK}s{_EXACT}s")
_FULL = _LAYOUT.size * MOST_HEARD
_PLACE_BITS = 6
_LATEST = (1 << 8 * _STAMP - _PLACE_BITS) - 1
"""Latest time that fits, in 2109. The index fits too: no more sessions than marks."""

_encoder = msgspec.json.Encoder()


class Mark(msgspec.Struct, frozen=True):
    """An agent's message that was shown lately."""

    at: int
    """When a push arrived, or when a message from the history was said, by the bridge's clock."""
    mark: bytes
    """Digest of agent and words."""
    id: str = ""
    """The server's message number, from the history."""
    awaited: int = 0
    """For a message from the history, until when the server may still push it as well."""
    exact: bytes = b""
    """Digest of agent and exact content; empty if it was not pushed."""
    session: SessionId | None = None
    """The session whose history should contain it; None if its absence proves nothing."""


Shown = tuple[Mark, ...]


class Line(msgspec.Struct, frozen=True):
    """A history entry that an agent wrote, with the digests of `Mark`."""

    place: int
    entry: HistoryEntry
    mark: bytes
    exact: bytes
    known: bool = False
    """True if it has a mark already, and is shown again to be safe."""


class Clocks(msgspec.Struct, frozen=True):
    """Clock difference: the server's clock is ahead of the bridge's by `low` to `high` ms."""

    low: int = -FAR
    high: int = FAR
    usual: int = 0


# --- when to fetch the history --------------------------------------------------------------------


def link_lost(turn: Turn) -> None:
    """Tell a customer in a queue or chat of a long outage (row 34), unless told already."""
    state = turn.state
    informed = state.told_trouble or state.told_away
    if visible(state.phase) is not None and not informed:
        turn.set(told_away=True)
        turn.say("trouble.unreachable")


def link_restored(turn: Turn, at: int, *, brief: bool) -> None:
    """Schedule a history lookup after an outage of the link, which ended at `at`."""
    if turn.state.told_away:
        turn.set(told_away=False, told_trouble=False)
        turn.say("trouble.over")
    if isinstance(turn.state.phase, model.Waiting | model.Chatting):
        turn.set(linked_at=at)
    if _may_have_spoken(turn.state):
        _want(turn, _heard_until(turn), turn.now, brief=brief)


def resumed(turn: Turn) -> None:
    """Schedule a history lookup after a restart of the bridge, once the link had time to open."""
    phase, recall = turn.state.phase, turn.state.recall
    if not isinstance(phase, model.Waiting | model.Chatting):
        return
    if phase.since < turn.now:  # else it began after the restart
        turn.set(linked_at=turn.now)  # no `LinkRestored` may come after a restart
    if recall is None:
        if _may_have_spoken(turn.state):
            _want(turn, _heard_until(turn), turn.now + SETTLING, brief=False)
    else:  # a lookup for an outage shortly before the restart
        turn.set(recall=replace(recall, brief=False, calls_since=turn.state.next_call))


def link_answers(turn: Turn, recall: model.Recall) -> None:
    """Fetch at once a history that waits for the link to open (`resumed`): a call was answered."""
    if recall.tries == 0 and not recall.asked and turn.now < recall.due:
        turn.set(recall=replace(recall, due=turn.now))


def _may_have_spoken(state: model.Conversation) -> bool:
    """Return whether an agent may have written: not before a 101 was sent."""
    phase, asked = state.phase, state.outstanding
    if not isinstance(phase, model.Requesting):
        return isinstance(phase, model.Queued | model.Chatting)
    asking = asked is not None and isinstance(asked.what, RequestChat)
    return asking or phase.unsure or phase.adopt_at is not None


def pursue(turn: Turn, recall: model.Recall) -> None:
    """Fetch the history of a scheduled lookup once it is due and there is a session."""
    phase = turn.state.phase
    if recall.session_id is None and isinstance(phase, model.Chatting):
        recall = replace(recall, session_id=phase.session_id)
        turn.set(recall=recall)
    if recall.session_id is None:
        lingers = isinstance(phase, model.Idle) and phase.linger_until is not None
        if not (lingers or isinstance(phase, model.Waiting)):
            turn.set(recall=None)  # the request led to no chat, so no agent has written
    elif turn.now >= recall.due:
        turn.set(recall=replace(recall, asked=True))
        turn.ask(model.FetchHistory(recall.session_id, recall.since))


def due(state: model.Conversation) -> int | None:
    recall = state.recall
    if recall is None or recall.asked or recall.session_id is None:
        return None
    return recall.due


def _want(turn: Turn, since: int, at: int, *, brief: bool) -> None:
    """Schedule a history lookup; if one is under way, another follows it."""
    recall = turn.state.recall
    if recall is None:
        recall = model.Recall(since, due=at, brief=brief)
    else:
        since, at, brief = min(since, recall.since), min(at, recall.due), brief and recall.brief
        recall = replace(recall, since=since, due=at, again=recall.asked, brief=brief)
    turn.set(recall=replace(recall, calls_since=turn.state.next_call))


def still_waits(turn: Turn, *, call_id: CallId | None = None, at: int = 0) -> None:
    """Cancel the history lookup: the request still waits, so no agent has written yet.

    Only news since the link was restored proves that: the reply to a later call, or a push that
    arrived (`at`) later. Inputs stored before may be handled only now.
    """
    recall = turn.state.recall
    if recall is None or recall.session_id is not None or recall.calls_since is None:
        return
    if at > turn.state.linked_at or (call_id is not None and call_id >= recall.calls_since):
        turn.set(recall=None)


def _heard_until(turn: Turn) -> int:
    """Return the time up to which no message was missed: the link delivers in order.

    Future times are ignored: they were stored before the bridge's clock was set back.
    """
    phase = turn.state.phase
    began = phase.since if isinstance(phase, model.Waiting | model.Chatting) else 0
    moments = [began, *(mark.at for mark in shown_lately(turn.state))]
    return max((at for at in moments if at <= turn.now), default=0)


# --- pushes ---------------------------------------------------------------------------------------


def is_new(turn: Turn, agent: Agent, content: AgentContent, at: int, *, numbered: bool) -> bool:
    """Remember an agent's push; return False if it was shown before, and look into the history.

    So it was if the history had it, or if it is the last one repeated (never if `numbered`).
    """
    words = _words(content.html) if isinstance(content, AgentText) else _NO_WORDS
    mark, exact = _mark(agent.id, words), exact_mark(agent.id, content)
    state = turn.state
    marks = state.marks if not state.heard else _packed(shown_lately(state))
    # A cheap test: bytes of two neighbouring marks may match as well, but then none is found below.
    if mark in marks.packed:
        new = _seen_before(turn, Mark(at, mark, exact=exact), words, numbered=numbered)
        if new is not None:
            return new
    phase, session_id = state.phase, None
    if isinstance(phase, model.Chatting) and not numbered and words != _NO_WORDS:
        session_id = phase.session_id
    _remember_push(turn, at, mark, exact, session_id)
    return True


def _seen_before(turn: Turn, pushed: Mark, words: str, *, numbered: bool) -> bool | None:
    """Return whether to show a push with a known mark; None if it is a new message."""
    linked_at, at = turn.state.linked_at, pushed.at
    known = list(shown_lately(turn.state))
    for index, mark in enumerate(known):
        awaited = max(mark.awaited, linked_at + AWAITED) if mark.awaited else 0
        expected = mark.mark == pushed.mark and at <= awaited
        repeated = (
            not numbered
            and (mark.mark, mark.exact) == (pushed.mark, pushed.exact)
            and mark.at < linked_at <= at
            and at - mark.at <= REPEATED_WITHIN
        )
        if expected or repeated:
            # Changed so that a third copy counts as a new message.
            known[index] = replace(mark, awaited=0, at=mark.at if expected else linked_at)
            _keep(turn, known)
            if expected and words == _NO_WORDS:  # a picture: the history had only a placeholder
                return True
            _want(turn, mark.at, turn.now, brief=True)
            return False
    return None


def note_robot(turn: Turn, fragment: str, at: int) -> None:
    """Remember a message of this chat's robot, whose frames do not name it."""
    turn.set(unsure_at=0)
    agent_id = next((agent.id for agent in _agents(turn)), "")
    exact = exact_mark(agent_id, AgentText(fragment))
    _remember_push(turn, at, mark_of(agent_id, fragment), exact, None)


def _agents(turn: Turn) -> tuple[Agent, ...]:
    phase = turn.state.phase
    return phase.agents if isinstance(phase, model.Chatting) else ()


# --- results of a lookup --------------------------------------------------------------------------


def recalled(turn: Turn, page: model.Recalled) -> None:
    """Show missed messages, or retry a failed lookup, at last saying that some may be missing."""
    recall = turn.state.recall or model.Recall(page.since, page.session_id)
    if page.failed and recall.tries + 1 >= TRIES:
        _tell_unsure(turn)
    elif page.failed:
        pause = FIRST_PAUSE << recall.tries
        pause += page.session_id * _STRIDE % pause  # jitter: all rooms lose their links at once
        at, tries = turn.now + pause, recall.tries + 1
        turn.set(recall=replace(recall, asked=False, again=False, due=at, tries=tries))
        return
    else:
        _show(turn, page, brief=recall.brief)
    again = model.Recall(recall.since, recall.session_id, due=turn.now, brief=True)
    turn.set(recall=again if recall.again else None)


def _show(turn: Turn, page: model.Recalled, *, brief: bool) -> None:
    ids = [agent.id for agent in _agents(turn)]  # ordered, for `left_out`
    lines, heard = [], shown_lately(turn.state)
    for place, entry in enumerate(page.entries):
        # Without a user type, an id among the chat's agents tells that an agent wrote it.
        by_person = entry.user_type > 0 or entry.agent_id in ids
        if by_person and not (entry.by_customer or entry.notice):
            exact = exact_mark(entry.agent_id, AgentText(entry.html))
            lines.append(Line(place, entry, mark_of(entry.agent_id, entry.html), exact))
    clocks = compare(heard, lines)
    doubtful = is_doubtful(heard, page, lines, clocks)
    if page.kept:
        recall = turn.state.recall
        # If an earlier lookup failed, messages were shown since `page.since`, until a later outage.
        linked_at = 0 if recall is not None and recall.again else turn.state.linked_at
        lacking, heard = left_out(heard, page, ids, max(page.since, linked_at))
        doubtful = doubtful or lacking
    else:
        doubtful = not brief and _lost_for_good(turn, page, heard)
    found, heard = missed(heard, lines, page.since, clocks)
    _keep(turn, heard)
    for line in found:
        entry = line.entry
        agent, text = speaker(turn, entry.agent_id, entry.name), entry.html.strip()
        if entry.revoked:
            said_at = entry.posted - clocks.usual
            turn.ask(model.TakeBack(agent, entry.id, line.mark.hex(), said_at))
            continue
        content: AgentContent = AgentText(entry.html)
        if text.startswith("{") and text.endswith("}"):  # raw JSON: a file, at some servers
            content = UnknownContent(None, text)
        relay(turn, model.Relay(agent, content, page.session_id, (), entry.posted, entry.id))
        if agent.id not in ids:  # the agent has left the chat: only the message is late
            turn.ask(model.AgentsLeft((agent.id,)))
        at = min(entry.posted - clocks.high, turn.now) if entry.posted else turn.now
        if not line.known:
            _remember(turn, Mark(at, line.mark, entry.id, turn.now + AWAITED))
    if doubtful:
        _tell_unsure(turn)


def _tell_unsure(turn: Turn) -> None:
    """Say that messages may be missing; for a while not twice in the same place."""
    if not 0 <= turn.now - turn.state.unsure_at < UNSURE_AGAIN:  # the clock may be set back
        turn.say(UNSURE)


def _lost_for_good(turn: Turn, page: model.Recalled, heard: Shown) -> bool:
    """Return whether the outage may have lost messages of this chat that are not pushed again."""
    phase, shown = turn.state.phase, heard
    if isinstance(phase, model.Chatting):
        if phase.since > turn.state.linked_at + SETTLING:
            return False  # the chat began after the outage
        shown = tuple(mark for mark in heard if mark.at >= phase.since)
        if not shown:
            return True
    # The chat may have ended before the history came, with her last words.
    return any(mark.session == page.session_id for mark in shown)


def relay(turn: Turn, message: model.Relay) -> None:
    """Show an agent's message. The first of a chat notifies the phone, unless `chat.ping` did, and
    so does one after a silence: with the ghost the room has three members, where others are mute.
    """
    phase, silence = turn.state.phase, turn.now - turn.state.watched_at
    if isinstance(phase, model.Chatting):
        if (phase.ping_at is not None or silence >= UNWATCHED) and not phase.close:
            message = replace(message, ping=True)
        if phase.unanswered or phase.ping_at is not None:
            turn.enter(phase, ping_at=phase.ping_at if phase.close else None, unanswered=False)
    turn.state = replace(turn.state, watched_at=turn.now, unsure_at=0)
    turn.effects.append(message)


def speaker(turn: Turn, agent_id: AgentId, name: str = "") -> Agent:
    """Return the chat's agent of this id, its only one if the id is empty (T15), or a new one."""
    agents = _agents(turn)
    for agent in agents:
        if agent.id == agent_id or (not agent_id and len(agents) == 1):
            return agent
    return Agent(agent_id or AgentId("agent"), name)


# --- marks ----------------------------------------------------------------------------------------


def mark_of(agent_id: str, fragment: str) -> bytes:
    """Return the digest of agent and words, the same for all that has no words."""
    return _mark(agent_id, _words(fragment))


def exact_mark(agent_id: str, content: AgentContent) -> bytes:
    head = f"{agent_id}\n".encode("utf-8", "replace")
    return blake2b(head + _encoder.encode(content), digest_size=_DIGEST).digest()[:_EXACT]


def _mark(agent_id: str, words: str) -> bytes:
    text = f"{agent_id}\n{words}".encode("utf-8", "replace")
    return blake2b(text, digest_size=_DIGEST).digest()[:_MARK]


def _words(fragment: str) -> str:
    if len(fragment) > LONGEST_READ:
        return fragment
    text = fragment
    # HTML and emoji codes all begin with one of these; anything else is plain text already.
    if "<" in fragment or "&" in fragment or "/" in fragment or "[" in fragment:
        text = decode_emoji(fragment)
        plain = html_to_text(text) if "<" in text or "&" in text else text
        text = text if plain is None else plain
    words = " ".join(text.split())
    return _NO_WORDS if not words or words.startswith(_PLACEHOLDERS) else words


def shown_lately(state: model.Conversation) -> Shown:
    """Return the marks of agents' latest messages, newest last: at most `MOST_HEARD`."""
    if state.heard:
        as_bytes = bytes.fromhex
        return tuple(
            Mark(at, as_bytes(mark)[:_MARK], number, awaited, as_bytes(exact)[:_EXACT], session)
            for at, mark, number, awaited, exact, session in map(astuple, state.heard)
        )
    marks = state.marks
    details = {detail.place: detail for detail in marks.details}
    found = []
    for place, (stamp, mark, exact) in enumerate(_LAYOUT.iter_unpack(marks.packed)):
        at, session = divmod(int.from_bytes(stamp, "big"), 1 << _PLACE_BITS)
        detail = details.get(place, model.MarkDetail(place, "", 0, pushed=True))
        of = marks.sessions[session - 1] if session else None
        found.append(Mark(at, mark, detail.id, detail.awaited, exact if detail.pushed else b"", of))
    return tuple(found)


def _stamp(at: int, place: int) -> bytes:
    moment = at if 0 <= at <= _LATEST else min(max(at, 0), _LATEST)
    return (moment << _PLACE_BITS | place).to_bytes(_STAMP, "big")


def _packed(shown: Sequence[Mark]) -> model.Marks:
    sessions = tuple(dict.fromkeys(mark.session for mark in shown if mark.session is not None))
    places = {session: place for place, session in enumerate(sessions, start=1)}
    packed = [
        _stamp(mark.at, 0 if mark.session is None else places[mark.session])
        + mark.mark
        + (mark.exact or bytes(_EXACT))
        for mark in shown
    ]
    details = [
        model.MarkDetail(place, mark.id, mark.awaited, pushed=bool(mark.exact))
        for place, mark in enumerate(shown)
        if mark.id or mark.awaited or not mark.exact
    ]
    return model.Marks(b"".join(packed), sessions, tuple(details))


def _keep(turn: Turn, shown: Sequence[Mark]) -> None:
    turn.set(marks=_packed(shown), heard=())


def _remember(turn: Turn, mark: Mark) -> None:
    _keep(turn, (*shown_lately(turn.state), mark)[-MOST_HEARD:])


def _remember_push(
    turn: Turn, at: int, digest: bytes, exact: bytes, session: SessionId | None
) -> None:
    """Append the mark of a push; not unpacking the others keeps this cheap, once per message."""
    marks, place = turn.state.marks, 0
    if turn.state.heard or (session is not None and session not in marks.sessions):
        _remember(turn, Mark(at, digest, exact=exact, session=session))
        return
    packed, sessions, details = marks.packed, marks.sessions, marks.details
    if session is not None:
        place = sessions.index(session) + 1
    if len(packed) >= _FULL:  # drop the oldest
        packed = packed[_LAYOUT.size :]
        details = (
            tuple(replace(detail, place=detail.place - 1) for detail in details if detail.place)
            if details
            else ()
        )
    packed += _stamp(at, place) + digest + exact
    turn.state = replace(turn.state, marks=model.Marks(packed, sessions, details))


# --- comparing ------------------------------------------------------------------------------------


def compare(heard: Sequence[Mark], lines: Sequence[Line]) -> Clocks:
    """Estimate the clock difference from pushed messages that occur once in both lists."""
    shown = [mark for mark in heard if not mark.id]
    times = Counter(mark.mark for mark in shown)
    entries = Counter(line.mark for line in lines)
    pushed = {mark.mark: mark.at for mark in shown if mark.exact}
    offsets = [
        line.entry.posted - pushed[line.mark]
        for line in lines
        if line.entry.posted and entries[line.mark] == times[line.mark] == 1 and line.mark in pushed
    ]
    if not offsets:
        return Clocks()
    return Clocks(min(offsets) - NEAR, max(offsets), median_low(offsets))


def missed(heard: Shown, lines: list[Line], since: int, clocks: Clocks) -> tuple[list[Line], Shown]:
    """Return the lines said since `since` that were not shown, and the updated marks.

    The lines are preceded by those that were shown and that the history marks as taken back.
    """
    open_lines = _open(heard, lines, since, clocks)
    pairs = _paired(heard, open_lines)
    left = [line for line in open_lines if line.place not in pairs]
    paired = [(line, pairs[line.place]) for line in open_lines if line.place in pairs]
    # Marks of pushes (`exact` is set) were timed by the bridge's clock.
    before = [line.place for line, n in paired if heard[n].exact and heard[n].at <= since]
    # The last line known from before the outage; if there is none, the last known line.
    last = max(before or [line.place for line in lines if line not in left], default=len(lines))
    # Times do not tell that a line is older than all marks: pushes that came late shift `clocks`.
    first = min(before, default=0) if len(heard) == MOST_HEARD else 0
    likely = [line for line, n in paired if heard[n].exact != line.exact]
    unsure = _differing(left, likely, max(before, default=-1))
    known = list(heard)
    for line in unsure:
        index = pairs[line.place]
        known[index] = replace(known[index], id=line.entry.id)
    begin = since + clocks.low
    found = [
        line
        for line in sorted([*left, *unsure], key=lambda line: line.place)
        if not line.entry.revoked
        and line.place >= first
        # A line without a time counts if it follows one that was shown.
        and (line.entry.posted >= begin if line.entry.posted else line.place > last)
    ]
    revoked = (line for line in lines if line.entry.revoked and line.entry.id)
    ids = {mark.id for mark in heard}
    gone = (line for line in revoked if line.place in pairs or line.entry.id in ids)
    return [*gone, *found], tuple(known)


def is_doubtful(heard: Shown, page: model.Recalled, lines: Sequence[Line], clocks: Clocks) -> bool:
    """Return whether messages may be missing from before the oldest entry or the oldest mark."""
    begin = page.since + clocks.usual
    if len(page.entries) >= MOST_RECALLED and page.entries[0].posted > begin:
        return True
    if len(heard) < MOST_HEARD:
        return False
    first = min(mark.at for mark in heard) + clocks.usual
    return any(begin < line.entry.posted < first for line in lines)


def left_out(
    heard: Shown, page: model.Recalled, ids: Collection[AgentId], until: int
) -> tuple[bool, Shown]:
    """Return whether the history lacks messages of this chat that were shown, and the marks.

    It must have the newest message shown `until` the outage, and all after the oldest that it has;
    older ones may lie beyond its page. Socket and history may name people differently, so a line
    may match with any of the chat's `ids`.

    The marks are changed so that an absent message counts only once; except the newest, which
    counts each time, as more may have been missed by then.
    """
    order = sorted(range(len(heard)), key=lambda index: heard[index].at)
    shown = [heard[index].mark for index in order]
    listed = []  # the marks that match history lines, in the lines' order
    for entry in page.entries:
        words = _words(entry.html)
        marks = (_mark(who, words) for who in (entry.agent_id, *ids))
        listed += [mark for mark in marks if mark in shown][:1]
    blocks = SequenceMatcher(None, shown, listed, autojunk=False).get_matching_blocks()
    paired = {place for block in blocks for place in range(block.a, block.a + block.size)}
    times, copies = Counter(shown), Counter(listed)
    # The order may differ there; if equal messages are too few, the sequence match tells which.
    present = [place in paired or copies[mark] >= times[mark] for place, mark in enumerate(shown)]
    ours = [mark.session == page.session_id and mark.at <= until for mark in heard]
    due = [place for place, index in enumerate(order) if ours[index]]
    if not due:
        return False, heard
    begin = next((place for place in due if present[place]), due[-1])
    absent = [place for place in due if place >= begin and not present[place]]
    known = list(heard)
    for place in absent:
        if place != due[-1]:
            known[order[place]] = replace(known[order[place]], session=None)
    return bool(absent), tuple(known)


def _open(heard: Shown, lines: Sequence[Line], since: int, clocks: Clocks) -> list[Line]:
    """Return the lines that are not older than the marks, and whose id has no mark."""
    ids = {mark.id for mark in heard if mark.id}
    first = min((mark.at for mark in heard), default=since)  # the clock may have been changed
    horizon = min(first, since) + clocks.usual - FAR
    if len(heard) == MOST_HEARD:
        horizon = first + clocks.usual  # older marks were discarded, so older lines prove nothing
    unmarked = (line for line in lines if line.entry.id not in ids)
    return [line for line in unmarked if not line.entry.posted or line.entry.posted >= horizon]


def _paired(heard: Shown, lines: Sequence[Line]) -> Mapping[int, int]:
    """Pair lines with marks; return the mark's index by the line's place."""
    pairs: dict[int, int] = {}
    for exact in (True, False):
        taken = set(pairs.values())
        free: defaultdict[bytes, deque[int]] = defaultdict(deque)
        for index, mark in enumerate(heard):
            if not mark.id and index not in taken:
                free[mark.exact if exact else mark.mark].append(index)
        for line in lines:
            places = free[line.exact if exact else line.mark]
            if places and line.place not in pairs:
                pairs[line.place] = places.popleft()
    return pairs


def _differing(left: Sequence[Line], likely: Sequence[Line], last: int) -> list[Line]:
    """Return lines after `last`, paired by words alone, that may be a missed picture or file."""
    shown = {(line.mark, line.entry.html) for line in left}
    without_words = {line.mark for line in left if line.mark == mark_of(line.entry.agent_id, "")}
    found = []
    for line in likely:
        key = line.mark, line.entry.html
        if line.mark in without_words and line.place > last and key not in shown:
            shown.add(key)
            found.append(replace(line, known=True))
    return found
