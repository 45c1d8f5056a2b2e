"""Messages of agents missed in an outage: fetched from the history, shown once (row 31).

A push that finds no link is lost at most servers, and pushes carry neither a number nor a time of
the server's (reference 1.4). A later server keeps a history (3.8), whose entries have both. So the
*marks* of what was relayed lately (digest of agent and words, and when it came) are compared with
it: what only the history has, and is not older than the outage, was missed.

- A line and a mark are paired if their content is the same to the last byte, else if their words
  are, each time in their order. So equal words are counted, and of equal ones the last were missed.
- A push of what the history has told already is not shown again. As it may be the same words said
  anew, the history is asked once more: one that it knows beyond those shown is shown after all.
- A server without history and receipts may repeat the last push after a new link (trap T34): the
  same content of the same agent, to the last byte, within 3 s, with the new link in between, is one
  message.
- Pictures and files are placeholders in the history, all alike, and alike an agent's text that
  begins with a bracket. Every pushed one is shown; where one without words was missed, each history
  line that may be it and reads differently is shown, once.
- What was shown, and is taken back in the history (`revokeFlag`), is taken back here as well: each
  time that the history is asked, for the lane to Matrix knows what it has done.
- The customer is told that something may be missing where more was said than we remember or the
  history tells, where it cannot be had for long, and where it lacks words of this chat that were
  shown before. A server that numbers its pushes sends again what was lost itself; one that does
  not, and keeps no history, has lost it: that is told unless the link was away but for a moment.
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
from bridge.conversation.queue import hidden
from bridge.conversation.turn import Turn
from bridge.ids import AgentId, CallId, SessionId
from bridge.media.plaintext import html_to_text
from bridge.webchat.frames import Agent, AgentContent, AgentText, RequestChat, UnknownContent
from bridge.webchat.http import HistoryEntry
from bridge.webchat.words import decode_emoji

SETTLING = 15_000
"""ms after a start of ours that the link gets to stand before the history is asked for."""
TRIES = 8
"""Retries for a history that cannot be had: over more than an hour."""
FIRST_PAUSE = 30_000
"""ms until the second try at least, and twice that at most; doubled for each further one."""
REPEATED_WITHIN = 3_000
"""ms within which a push that comes twice is one (trap T34)."""
AWAITED = 120_000
"""ms within which what the history has told may still be pushed as well."""
_STRIDE = 7_919
MOST_HEARD = 40
"""Marks that are remembered, in 0.7 KB a room; what is older than they is no longer looked for."""
MOST_RECALLED = 100
NEAR, FAR = 30_000, 120_000
"""ms that are allowed for where the server's clock could be compared with ours, and where not."""
_NO_WORDS = "\0"
_PLACEHOLDERS = ("[", "【", "{")
"""How a history tells of a picture or a file: `[图片]`, or raw JSON; nobody documents it."""

_DIGEST = 6
_STAMP, _MARK, _EXACT = 6, 5, 2
"""Bytes of a packed mark: a stamp, and the first bytes of the two digests.

The stamp, big-endian, is the moment in ms, and in its last bits the place of the chat in
`Marks.sessions`, from 1 on, or 0. Chance of equal marks: 1 in 10^12; of equal exact digests for
messages with one mark: 1 in 65,536."""
_LAYOUT = Struct(f"{_STAMP}s{_MARK}s{_EXACT}s")
_FULL = _LAYOUT.size * MOST_HEARD
_PLACE_BITS = 6
_LATEST = (1 << 8 * _STAMP - _PLACE_BITS) - 1
"""The year 2109, and there are at most as many chats as marks."""

_encoder = msgspec.json.Encoder()


class Mark(msgspec.Struct, frozen=True):
    """A message of an agent's that was shown lately."""

    at: int
    """When it came; of one that a history told, when it was said, by our clock."""
    mark: bytes
    """Digest of agent and words."""
    id: str = ""
    """The server's number of it, where a history told it."""
    awaited: int = 0
    """Where a history told it: until when the server may still push it as well."""
    exact: bytes = b""
    """Digest of agent and content to the last byte, where it was pushed."""
    session: SessionId | None = None
    """The chat whose history has to have these words; None: nothing follows if it has not."""


Shown = tuple[Mark, ...]


class Line(msgspec.Struct, frozen=True):
    """A line of the history that an agent wrote, with the digests of `Mark`."""

    place: int
    entry: HistoryEntry
    mark: bytes
    exact: bytes
    known: bool = False
    """Shown for safety: it has a mark already."""


class Clocks(msgspec.Struct, frozen=True):
    """Clock difference: the server's is ahead of ours by `low` to `high` ms."""

    low: int = -FAR
    high: int = FAR
    usual: int = 0


# --- when to ask ----------------------------------------------------------------------------------


def link_lost(turn: Turn) -> None:
    """Tell a customer who waits of a long outage (row 34), unless they were told of trouble."""
    state = turn.state
    told = state.told_trouble or state.told_away
    waits = isinstance(state.phase, model.Waiting | model.Chatting) and not hidden(state.phase)
    if waits and not told:
        turn.set(told_away=True)
        turn.say("outage.away")


def link_restored(turn: Turn, at: int, *, brief: bool) -> None:
    """Ask for the history after an outage of the link, which ended at `at`."""
    if turn.state.told_away:
        turn.set(told_away=False, told_trouble=False)
        turn.say("trouble.over")
    if isinstance(turn.state.phase, model.Waiting | model.Chatting):
        turn.set(linked_at=at)
    if _may_have_spoken(turn.state):
        _want(turn, _heard_until(turn), turn.now, brief=brief)


def resumed(turn: Turn) -> None:
    """Ask for the history after a restart of the bridge, once the link stands again."""
    phase, recall = turn.state.phase, turn.state.recall
    if not isinstance(phase, model.Waiting | model.Chatting):
        return
    if phase.since < turn.now:  # else nobody can have said anything yet
        turn.set(linked_at=turn.now)  # the link itself may not tell
    if recall is None:
        if _may_have_spoken(turn.state):
            _want(turn, _heard_until(turn), turn.now + SETTLING, brief=False)
    else:  # of an outage shortly before
        turn.set(recall=replace(recall, brief=False, calls_since=turn.state.next_call))


def _may_have_spoken(state: model.Conversation) -> bool:
    """True where there may be an agent: nobody has spoken to a request that never left."""
    phase, asked = state.phase, state.outstanding
    if not isinstance(phase, model.Requesting):
        return isinstance(phase, model.Queued | model.Chatting)
    asking = asked is not None and isinstance(asked.what, RequestChat)
    return asking or phase.unsure or phase.adopt_at is not None


def pursue(turn: Turn, recall: model.Recall) -> None:
    """Ask for the history that is wanted, if it is due and of use: there has to be a session."""
    phase = turn.state.phase
    if recall.session_id is None and isinstance(phase, model.Chatting):
        recall = replace(recall, session_id=phase.session_id)
        turn.set(recall=recall)
    if recall.session_id is None:
        if not isinstance(phase, model.Waiting):
            turn.set(recall=None)  # no chat has come of it, so nobody has said anything
    elif turn.now >= recall.due:
        turn.set(recall=replace(recall, asked=True))
        turn.ask(model.FetchHistory(recall.session_id, recall.since))


def due(state: model.Conversation) -> int | None:
    recall = state.recall
    if recall is None or recall.asked or recall.session_id is None:
        return None
    return recall.due


def _want(turn: Turn, since: int, at: int, *, brief: bool) -> None:
    """Schedule a question for the history; while one is under way, another follows it."""
    recall = turn.state.recall
    if recall is None:
        recall = model.Recall(since, due=at, brief=brief)
    else:
        since, at, brief = min(since, recall.since), min(at, recall.due), brief and recall.brief
        recall = replace(recall, since=since, due=at, again=recall.asked, brief=brief)
    turn.set(recall=replace(recall, calls_since=turn.state.next_call))


def still_waits(turn: Turn, *, call_id: CallId | None = None, at: int = 0) -> None:
    """Ask for no history after all: the request still waits, so no agent has spoken yet.

    That has to be news since the link stands again: the reply to a call made since, or a push that
    came (`at`) since. What was stored before may be handled only now.
    """
    recall = turn.state.recall
    if recall is None or recall.session_id is not None or recall.calls_since is None:
        return
    if at > turn.state.linked_at or (call_id is not None and call_id >= recall.calls_since):
        turn.set(recall=None)


def _heard_until(turn: Turn) -> int:
    """Return the moment up to which nothing was missed: the link delivers in order.

    What lies in the future tells nothing: our clock was ahead then, and has been set back.
    """
    phase = turn.state.phase
    began = phase.since if isinstance(phase, model.Waiting | model.Chatting) else 0
    moments = [began, *(one.at for one in shown_lately(turn.state))]
    return max((at for at in moments if at <= turn.now), default=0)


# --- what comes by push ---------------------------------------------------------------------------


def is_new(turn: Turn, agent: Agent, content: AgentContent, at: int, *, numbered: bool) -> bool:
    """Take note of an agent's push; False if it was shown (`numbered` ones never come twice)."""
    words = _words(content.html) if isinstance(content, AgentText) else _NO_WORDS
    mark, exact = _mark(agent.id, words), exact_mark(agent.id, content)
    state = turn.state
    marks = state.marks if not state.heard else _packed(shown_lately(state))
    # Bytes of two neighbours may look like a mark: then none is found.
    if mark in marks.packed:
        new = _seen_before(turn, Mark(at, mark, exact=exact), words, numbered=numbered)
        if new is not None:
            return new
    phase, session_id = state.phase, None
    if isinstance(phase, model.Chatting) and not numbered and words != _NO_WORDS:
        session_id = phase.session_id
    _remember_push(turn, at, mark, exact, session_id)
    return True


def _seen_before(turn: Turn, came: Mark, words: str, *, numbered: bool) -> bool | None:
    """Return whether a push with a known mark is shown; None: another message of equal words."""
    linked_at, at = turn.state.linked_at, came.at
    known = list(shown_lately(turn.state))
    for index, one in enumerate(known):
        awaited = max(one.awaited, linked_at + AWAITED) if one.awaited else 0
        told = one.mark == came.mark and at <= awaited
        repeated = (
            not numbered
            and (one.mark, one.exact) == (came.mark, came.exact)
            and one.at < linked_at <= at
            and at - one.at <= REPEATED_WITHIN
        )
        if told or repeated:
            # Moved on in time, so that a third copy is a message of its own.
            known[index] = replace(one, awaited=0, at=one.at if told else linked_at)
            _keep(turn, known)
            if told and words == _NO_WORDS:  # a picture, which is shown all the same
                return True
            _want(turn, one.at, turn.now, brief=True)
            return False
    return None


def note_robot(turn: Turn, fragment: str, at: int) -> None:
    """Take note of a message of this chat's robot; its frames do not name it."""
    agent_id = next((agent.id for agent in _agents(turn)), "")
    exact = exact_mark(agent_id, AgentText(fragment))
    _remember_push(turn, at, mark_of(agent_id, fragment), exact, None)


def _agents(turn: Turn) -> tuple[Agent, ...]:
    phase = turn.state.phase
    return phase.agents if isinstance(phase, model.Chatting) else ()


# --- what comes by history ------------------------------------------------------------------------


def recalled(turn: Turn, came: model.Recalled) -> None:
    """Show what was missed, or try again, or say that something may be missing."""
    recall = turn.state.recall or model.Recall(came.since, came.session_id)
    if came.failed and recall.tries + 1 >= TRIES:
        turn.say("outage.unsure")
    elif came.failed:
        pause = FIRST_PAUSE << recall.tries
        # All rooms of a server lose their links at once, and have to ask one after the other.
        pause += came.session_id * _STRIDE % pause
        at, tries = turn.now + pause, recall.tries + 1
        turn.set(recall=replace(recall, asked=False, again=False, due=at, tries=tries))
        return
    else:
        _show(turn, came, brief=recall.brief)
    again = model.Recall(recall.since, recall.session_id, due=turn.now, brief=True)
    turn.set(recall=again if recall.again else None)


def _show(turn: Turn, came: model.Recalled, *, brief: bool) -> None:
    ids = [agent.id for agent in _agents(turn)]  # in their order, for `left_out`
    lines, heard = [], shown_lately(turn.state)
    for place, entry in enumerate(came.entries):
        # Where the server does not tell who wrote it: by the names in the chat.
        by_person = entry.user_type > 0 or entry.agent_id in ids
        if by_person and not (entry.by_customer or entry.notice):
            exact = exact_mark(entry.agent_id, AgentText(entry.html))
            lines.append(Line(place, entry, mark_of(entry.agent_id, entry.html), exact))
    clocks = compare(heard, lines)
    doubtful = is_doubtful(heard, came, lines, clocks)
    if came.kept:
        lacking, heard = left_out(heard, came, ids)
        doubtful = doubtful or lacking
    else:
        doubtful = not brief and _lost_for_good(turn, came, heard)
    found, heard = missed(heard, lines, came.since, clocks)
    _keep(turn, heard)
    for line in found:
        entry = line.entry
        agent, text = speaker(turn, entry.agent_id, entry.name), entry.html.strip()
        if entry.revoked:
            said_at = entry.posted - clocks.usual
            turn.ask(model.TakeBack(agent, entry.id, line.mark.hex(), said_at))
            continue
        content: AgentContent = AgentText(entry.html)
        if text.startswith("{") and text.endswith("}"):  # raw JSON: some servers tell so of files
            content = UnknownContent(None, text)
        relay(turn, model.Relay(agent, content, came.session_id, (), entry.posted, entry.id))
        if agent.id not in ids:  # gone meanwhile: only the word has come late
            turn.ask(model.AgentsLeft((agent.id,)))
        at = min(entry.posted - clocks.high, turn.now) if entry.posted else turn.now
        if not line.known:
            _remember(turn, Mark(at, line.mark, entry.id, turn.now + AWAITED))
    if doubtful:
        turn.say("outage.unsure")


def _lost_for_good(turn: Turn, came: model.Recalled, heard: Shown) -> bool:
    """True if the outage may have cost words of this chat that are not pushed again."""
    phase = turn.state.phase
    if not isinstance(phase, model.Chatting) or phase.since > turn.state.linked_at + SETTLING:
        return False  # it began when the link stood again
    said = [one for one in heard if one.at >= phase.since]
    return not said or any(one.session == came.session_id for one in said)


def relay(turn: Turn, said: model.Relay) -> None:
    """Show an agent's message; the first one of a chat rings, unless `chat.ping` did."""
    phase = turn.state.phase
    if isinstance(phase, model.Chatting) and (phase.unanswered or phase.ping_at is not None):
        turn.enter(phase, ping_at=None, unanswered=False)
        said = replace(said, ping=phase.ping_at is not None)
    turn.effects.append(said)


def speaker(turn: Turn, agent_id: AgentId, name: str = "") -> Agent:
    """Return the agent of an id: one of the chat's, without an id the sole one (T15), or a new."""
    agents = _agents(turn)
    for agent in agents:
        if agent.id == agent_id or (not agent_id and len(agents) == 1):
            return agent
    return Agent(agent_id or AgentId("agent"), name)


# --- marks ----------------------------------------------------------------------------------------


def mark_of(agent_id: str, fragment: str) -> bytes:
    """Digest of agent and words, alike for pushes and history; one for all that has no words."""
    return _mark(agent_id, _words(fragment))


def exact_mark(agent_id: str, content: AgentContent) -> bytes:
    head = f"{agent_id}\n".encode("utf-8", "replace")
    return blake2b(head + _encoder.encode(content), digest_size=_DIGEST).digest()[:_EXACT]


def _mark(agent_id: str, words: str) -> bytes:
    text = f"{agent_id}\n{words}".encode("utf-8", "replace")
    return blake2b(text, digest_size=_DIGEST).digest()[:_MARK]


def _words(fragment: str) -> str:
    text = fragment
    # Any element and any face begins with one of these: without them it is the plain text itself.
    if "<" in fragment or "&" in fragment or "/" in fragment or "[" in fragment:
        text = decode_emoji(fragment)
        plain = html_to_text(text) if "<" in text or "&" in text else text
        text = text if plain is None else plain
    words = " ".join(text.split())
    return _NO_WORDS if not words or words.startswith(_PLACEHOLDERS) else words


def shown_lately(state: model.Conversation) -> Shown:
    """Return the marks of what agents said lately, the newest last: at most `MOST_HEARD`."""
    if state.heard:
        as_bytes = bytes.fromhex
        return tuple(
            Mark(at, as_bytes(mark)[:_MARK], number, awaited, as_bytes(exact)[:_EXACT], session)
            for at, mark, number, awaited, exact, session in map(astuple, state.heard)
        )
    marks = state.marks
    told = {one.place: one for one in marks.told}
    found = []
    for place, (stamp, mark, exact) in enumerate(_LAYOUT.iter_unpack(marks.packed)):
        at, session = divmod(int.from_bytes(stamp, "big"), 1 << _PLACE_BITS)
        more = told.get(place, model.Told(place, "", 0, pushed=True))
        of = marks.sessions[session - 1] if session else None
        found.append(Mark(at, mark, more.id, more.awaited, exact if more.pushed else b"", of))
    return tuple(found)


def _stamp(at: int, place: int) -> bytes:
    moment = at if 0 <= at <= _LATEST else min(max(at, 0), _LATEST)
    return (moment << _PLACE_BITS | place).to_bytes(_STAMP, "big")


def _packed(shown: Sequence[Mark]) -> model.Marks:
    sessions = tuple(dict.fromkeys(one.session for one in shown if one.session is not None))
    places = {session: place for place, session in enumerate(sessions, start=1)}
    packed = [
        _stamp(one.at, 0 if one.session is None else places[one.session])
        + one.mark
        + (one.exact or bytes(_EXACT))
        for one in shown
    ]
    told = [
        model.Told(place, one.id, one.awaited, pushed=bool(one.exact))
        for place, one in enumerate(shown)
        if one.id or one.awaited or not one.exact
    ]
    return model.Marks(b"".join(packed), sessions, tuple(told))


def _keep(turn: Turn, shown: Sequence[Mark]) -> None:
    turn.set(marks=_packed(shown), heard=())


def _remember(turn: Turn, mark: Mark) -> None:
    _keep(turn, (*shown_lately(turn.state), mark)[-MOST_HEARD:])


def _remember_push(
    turn: Turn, at: int, digest: bytes, exact: bytes, session: SessionId | None
) -> None:
    """Append the mark of a push, without unpacking the others: the room's record is written with
    each message.
    """
    marks, place = turn.state.marks, 0
    if turn.state.heard or (session is not None and session not in marks.sessions):
        _remember(turn, Mark(at, digest, exact=exact, session=session))
        return
    packed, sessions, told = marks.packed, marks.sessions, marks.told
    if session is not None:
        place = sessions.index(session) + 1
    if len(packed) >= _FULL:  # the oldest goes, and all others move up
        packed = packed[_LAYOUT.size :]
        told = tuple(replace(one, place=one.place - 1) for one in told if one.place) if told else ()
    packed += _stamp(at, place) + digest + exact
    turn.state = replace(turn.state, marks=model.Marks(packed, sessions, told))


# --- comparing ------------------------------------------------------------------------------------


def compare(heard: Sequence[Mark], lines: Sequence[Line]) -> Clocks:
    """Estimate the clock difference by pushed messages that both lists have exactly once."""
    shown = [one for one in heard if not one.id]
    times = Counter(one.mark for one in shown)
    entries = Counter(line.mark for line in lines)
    came = {one.mark: one.at for one in shown if one.exact}
    found = [
        line.entry.posted - came[line.mark]
        for line in lines
        if line.entry.posted and entries[line.mark] == times[line.mark] == 1 and line.mark in came
    ]
    if not found:
        return Clocks()
    return Clocks(min(found) - NEAR, max(found), median_low(found))


def missed(heard: Shown, lines: list[Line], since: int, clocks: Clocks) -> tuple[list[Line], Shown]:
    """Find the lines that were not shown, though said since `since`; return the marks as well.

    Before them come those that were shown, and are taken back by now.
    """
    open_lines = _open(heard, lines, since, clocks)
    pairs = _paired(heard, open_lines)
    left = [line for line in open_lines if line.place not in pairs]
    paired = [(line, pairs[line.place]) for line in open_lines if line.place in pairs]
    # Of a push, the moment is ours.
    before = [line.place for line, n in paired if heard[n].exact and heard[n].at <= since]
    # Where nothing is known of that time: what follows a line that was shown.
    last = max(before or [line.place for line in lines if line not in left], default=len(lines))
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
        # A line without a time counts if it follows one that was shown.
        and (line.entry.posted >= begin if line.entry.posted else line.place > last)
    ]
    revoked = (line for line in lines if line.entry.revoked and line.entry.id)
    told = {one.id for one in heard}
    gone = (line for line in revoked if line.place in pairs or line.entry.id in told)
    return [*gone, *found], tuple(known)


def is_doubtful(heard: Shown, came: model.Recalled, lines: Sequence[Line], clocks: Clocks) -> bool:
    """True if something may be missing that cannot be found: forgotten here, or not told there."""
    begin = came.since + clocks.usual
    if len(came.entries) >= MOST_RECALLED and came.entries[0].posted > begin:
        return True
    if len(heard) < MOST_HEARD:
        return False
    first = min(one.at for one in heard) + clocks.usual
    return any(begin < line.entry.posted < first for line in lines)


def left_out(heard: Shown, came: model.Recalled, ids: Collection[AgentId]) -> tuple[bool, Shown]:
    """Find out whether the history lacks words of this chat that were shown.

    It must have the newest that were heard before the outage, and all that follow any that it has;
    what is older may lie beyond its page. The socket and the history may name people differently,
    so any of the `ids` in the chat will do.

    Also returns the marks, changed so that what is absent is told once. Only of the newest words it
    is told each time, as more may have been missed by then.
    """
    order = sorted(range(len(heard)), key=lambda index: heard[index].at)
    shown = [heard[index].mark for index in order]
    told = []  # the marks that the history's lines fit, in their order
    for entry in came.entries:
        marks = (mark_of(who, entry.html) for who in (entry.agent_id, *ids))
        told += [mark for mark in marks if mark in shown][:1]
    blocks = SequenceMatcher(None, shown, told, autojunk=False).get_matching_blocks()
    paired = {place for block in blocks for place in range(block.a, block.a + block.size)}
    times, copies = Counter(shown), Counter(told)
    # Words may stand in another order there; of equal ones that are too few, order tells which.
    there = [place in paired or copies[mark] >= times[mark] for place, mark in enumerate(shown)]
    ours = [one.session == came.session_id and one.at <= came.since for one in heard]
    due = [place for place, index in enumerate(order) if ours[index]]
    if not due:
        return False, heard
    begin = next((place for place in due if there[place]), due[-1])
    absent = [place for place in due if place >= begin and not there[place]]
    known = list(heard)
    for place in absent:
        if place != due[-1]:
            known[order[place]] = replace(known[order[place]], session=None)
    return bool(absent), tuple(known)


def _open(heard: Shown, lines: Sequence[Line], since: int, clocks: Clocks) -> list[Line]:
    """Return the lines that are not older than the marks, and not known by their id."""
    told = {one.id for one in heard if one.id}
    first = min((one.at for one in heard), default=since)  # the clock may have been set since
    horizon = min(first, since) + clocks.usual - FAR
    if len(heard) == MOST_HEARD:
        horizon = first + clocks.usual  # what is older was forgotten, and not missed
    untold = (line for line in lines if line.entry.id not in told)
    return [line for line in untold if not line.entry.posted or line.entry.posted >= horizon]


def _paired(heard: Shown, lines: Sequence[Line]) -> Mapping[int, int]:
    """Pair lines with marks: by the line's place, the index of the mark."""
    pairs: dict[int, int] = {}
    for exact in (True, False):
        taken = set(pairs.values())
        free: defaultdict[bytes, deque[int]] = defaultdict(deque)
        for index, one in enumerate(heard):
            if not one.id and index not in taken:
                free[one.exact if exact else one.mark].append(index)
        for line in lines:
            places = free[line.exact if exact else line.mark]
            if places and line.place not in pairs:
                pairs[line.place] = places.popleft()
    return pairs


def _differing(left: Sequence[Line], likely: Sequence[Line], last: int) -> list[Line]:
    """Lines behind `last`, paired by words alone, that may be what was missed without words."""
    shown = {(line.mark, line.entry.html) for line in left}
    without_words = {line.mark for line in left if line.mark == mark_of(line.entry.agent_id, "")}
    found = []
    for line in likely:
        key = line.mark, line.entry.html
        if line.mark in without_words and line.place > last and key not in shown:
            shown.add(key)
            found.append(replace(line, known=True))
    return found
