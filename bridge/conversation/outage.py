"""What the agents said while nobody listened: fetched after an outage, and shown once (row 31).

A push that finds no link is lost at most servers, and pushes carry neither a number nor a time of
the server's (reference 1.4). A later server keeps a history (3.8), whose entries have both. So
what was missed is found by comparing two lists: the *marks* of what was relayed lately (a digest of
agent and words, with the moment at which it came) and the history. What only the history has, and
what is not older than the outage, was missed.

- Equal words are counted: as many of them were missed as the history has more than there are marks.
- The clocks of the two servers need not agree: how far they are apart is read off what was said
  once and shown once. Without any such words, two minutes are allowed for.
- A server may push, late, what the history has told already. Such a push is not shown again. But it
  may as well be the same words said anew, and so the history is asked once more: if it knows of
  one more than was shown, that one is shown after all. Each message comes once, whoever was faster.
- A server without history, and without receipts, may repeat the last push after a new link (trap
  T34): the same content of the same agent, to the last byte, within 3 s, with the new link in
  between, is one message.
- A picture or a file is a placeholder in the history, so all of them are equal there, and so is an
  agent's text that begins with a bracket. One that is pushed is always shown, and of lines that may
  be it each that reads differently: better a placeholder too much than words too few.
- Where more was said than we remember or the history tells, the customer is told, as where it
  cannot be had at all. So are they where it lacks words of this chat that were shown before: it is
  behind, or leaves the running chat out, and what was said during the outage is not in it either.
  A server that numbers its pushes sends again what was lost, whatever its history says.

A message of a link that broke is marked with the server's time of it. Where the server has a
history and would not give it for long, the customer is told that something may be missing: nothing
disappears in silence. A message that was taken back meanwhile is not shown.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import AgentsLeft, FetchHistory, Relay
from bridge.conversation.inputs import Recalled
from bridge.conversation.marks import (
    MOST_HEARD,
    Clocks,
    Line,
    compare,
    exact_mark,
    is_doubtful,
    left_out,
    mark_of,
    missed,
)
from bridge.conversation.model import (
    Chatting,
    Conversation,
    Heard,
    Queued,
    Recall,
    Requesting,
)
from bridge.conversation.turn import Turn
from bridge.ids import AgentId
from bridge.webchat.frames import Agent, AgentContent, AgentText, UnknownContent
from bridge.webchat.http import HistoryEntry

SETTLING = 15_000
"""ms after a start of ours that the link gets to stand before the history is asked for."""
TRIES = 8
"""How often a history that cannot be had is asked for: over more than an hour."""
FIRST_PAUSE = 30_000
"""ms until the second try at least, and twice that at most; doubled for each further one."""
REPEATED_WITHIN = 3_000
"""ms within which a push that comes twice is one (trap T34)."""
AWAITED = 120_000
"""ms within which what the history has told may still be pushed as well."""

_STRIDE = 7_919


# --- when to ask --------------------------------------------------------------------------------


def link_lost(turn: Turn) -> None:
    """The link has been away for long (row 34): whoever waits for an answer should know.

    Not if something of theirs waits for the link as well: they were told of that.
    """
    if not isinstance(turn.state.phase, Requesting | Queued | Chatting):
        return
    if not turn.state.told_trouble and not turn.state.told_away:
        turn.set(told_away=True)
        turn.say("outage.away")


def link_restored(turn: Turn, at: int) -> None:
    """The link was lost until `at` (ms): look for what was said meanwhile."""
    if turn.state.told_away:
        turn.set(told_away=False)
        turn.say("trouble.over")
    if isinstance(turn.state.phase, Requesting | Queued | Chatting):
        turn.set(linked_at=at)
        _want(turn, _heard_until(turn), turn.now)


def resumed(turn: Turn) -> None:
    """The bridge itself was away: the same, once the link stands again."""
    if isinstance(turn.state.phase, Requesting | Queued | Chatting) and turn.state.recall is None:
        _want(turn, _heard_until(turn), turn.now + SETTLING)


def pursue(turn: Turn) -> None:
    """Ask for the history if that is wanted, due, and of use: there has to be a session."""
    recall, phase = turn.state.recall, turn.state.phase
    if recall is None or recall.asked:
        return
    if recall.session_id is None and isinstance(phase, Chatting):
        recall = msgspec.structs.replace(recall, session_id=phase.session_id)
        turn.set(recall=recall)
    if recall.session_id is None:
        if not isinstance(phase, Requesting | Queued):
            turn.set(recall=None)  # no chat has come of it, so nobody has said anything
    elif turn.now >= recall.due:
        turn.set(recall=msgspec.structs.replace(recall, asked=True))
        turn.ask(FetchHistory(recall.session_id, recall.since))


def due(state: Conversation) -> int | None:
    """When the history is to be asked for, ms since the epoch; None if it is not."""
    recall = state.recall
    if recall is None or recall.asked or recall.session_id is None:
        return None
    return recall.due


def _want(turn: Turn, since: int, at: int) -> None:
    """Ask at that moment; what is being asked already is asked again after its answer."""
    recall, phase = turn.state.recall, turn.state.phase
    if recall is None:
        unmarked = isinstance(phase, Chatting) and not phase.marked
        turn.set(recall=Recall(since, due=at, unmarked=unmarked))
    else:
        since = min(since, recall.since)
        turn.set(
            recall=msgspec.structs.replace(
                recall, since=since, due=min(at, recall.due), again=recall.asked
            )
        )


def _heard_until(turn: Turn) -> int:
    """Up to when we surely heard everything. The link delivers in order."""
    phase = turn.state.phase
    began = phase.since if isinstance(phase, Requesting | Queued | Chatting) else 0
    return max([began, *(one.at for one in turn.state.heard)])


# --- what comes by push -------------------------------------------------------------------------


def is_new(turn: Turn, agent: Agent, content: AgentContent, at: int, *, numbered: bool) -> bool:
    """Take note of what an agent says; False if it has been shown.

    Args:
        turn: a turn with a push.
        agent: who speaks.
        content: what.
        at: when it came, ms since the epoch.
        numbered: it has a receipt id, so that a repeat of it never comes this far.
    """
    mark = mark_of(agent.id, content.html if isinstance(content, AgentText) else "")
    exact = exact_mark(agent.id, content)
    state = turn.state
    for index, one in enumerate(state.heard):
        told = one.mark == mark and at <= _awaited(one, state.linked_at)
        repeated = (
            not numbered
            and one.exact == exact
            and one.at < state.linked_at <= at
            and at - one.at <= REPEATED_WITHIN
        )
        if told or repeated:
            known = list(state.heard)
            # Moved on in time, so that a third copy is a message of its own.
            known[index] = msgspec.structs.replace(
                one, awaited=0, at=one.at if told else state.linked_at
            )
            turn.set(heard=tuple(known))
            if told and mark == mark_of(agent.id, ""):  # a picture, which is shown all the same
                return True
            _want(turn, one.at, turn.now)
            return False
    phase, session_id = turn.state.phase, None
    if isinstance(phase, Chatting) and not numbered and mark != mark_of(agent.id, ""):
        session_id = phase.session_id
    _remember(turn, Heard(at, mark, exact=exact, session=session_id))
    return True


def _awaited(one: Heard, linked_at: int) -> int:
    """Until when the server may push what its history has told; 0: it has not, or did so."""
    return max(one.awaited, linked_at + AWAITED) if one.awaited else 0


def note_robot(turn: Turn, fragment: str, at: int) -> None:
    """Take note of what the robot of this chat says; its frames do not name it."""
    phase = turn.state.phase
    agents = phase.agents if isinstance(phase, Chatting) else ()
    agent_id = agents[0].id if agents else ""
    exact = exact_mark(agent_id, AgentText(fragment))
    _remember(turn, Heard(at, mark_of(agent_id, fragment), exact=exact))


def _remember(turn: Turn, heard: Heard) -> None:
    turn.set(heard=(*turn.state.heard, heard)[-MOST_HEARD:])


# --- what comes by history ----------------------------------------------------------------------


def recalled(turn: Turn, came: Recalled) -> None:
    """Show what was missed, or try again, or say that something may be missing."""
    recall = turn.state.recall or Recall(came.since, came.session_id, asked=True)
    if came.failed and recall.tries + 1 >= TRIES:
        turn.say("outage.unsure")
    elif came.failed:
        pause = FIRST_PAUSE << recall.tries
        # All rooms of a server lose their links at once, and have to ask one after the other.
        pause += came.session_id * _STRIDE % pause
        turn.set(
            recall=msgspec.structs.replace(
                recall, asked=False, again=False, due=turn.now + pause, tries=recall.tries + 1
            )
        )
        return
    elif recall.unmarked:
        _take_as_shown(turn, came)
    else:
        _show(turn, came)
    turn.set(recall=Recall(recall.since, recall.session_id, due=turn.now) if recall.again else None)


def _take_as_shown(turn: Turn, came: Recalled) -> None:
    """The chat began under a version that made no marks: all that was said counts as shown.

    It would be shown a second time otherwise; what was missed under that version stays missed.
    """
    phase = turn.state.phase
    if not isinstance(phase, Chatting):
        return
    lines, clocks = _agents_lines(turn, came)
    for line in lines:
        at = line.entry.posted - clocks.usual if line.entry.posted else turn.now
        _remember(turn, Heard(min(at, turn.now), line.mark, line.entry.id))
    turn.enter(msgspec.structs.replace(phase, marked=True))


def _agents_lines(turn: Turn, came: Recalled) -> tuple[list[Line], Clocks]:
    """What agents wrote, and how far the server's clock is ahead, by what was pushed of it."""
    phase = turn.state.phase
    ids = {agent.id for agent in phase.agents} if isinstance(phase, Chatting) else set()
    lines = [
        Line(place, entry, mark_of(entry.agent_id, entry.html))
        for place, entry in enumerate(came.entries)
        if _by_agent(entry, ids)
    ]
    return lines, compare(turn.state.heard, lines)


def _show(turn: Turn, came: Recalled) -> None:
    phase = turn.state.phase
    agents = phase.agents if isinstance(phase, Chatting) else ()
    ids = {agent.id for agent in agents}
    lines, clocks = _agents_lines(turn, came)
    doubtful = is_doubtful(turn.state.heard, came.entries, lines, came.since, clocks)
    heard = turn.state.heard
    if came.kept:
        lacking, heard = left_out(heard, came.entries, came.session_id, came.since, ids)
        doubtful = doubtful or lacking
    found, heard = missed(heard, lines, came.since, clocks)
    turn.set(heard=heard)
    for line in found:
        entry = line.entry
        agent = _speaker(entry, agents)
        turn.ask(Relay(agent, _content(entry), came.session_id, posted=entry.posted))
        if agent.id not in ids:  # gone meanwhile: only the word has come late
            turn.ask(AgentsLeft((agent.id,)))
        at = min(entry.posted - clocks.high, turn.now) if entry.posted else turn.now
        if not line.known:
            _remember(turn, Heard(at, line.mark, entry.id, turn.now + AWAITED))
    if doubtful:
        turn.say("outage.unsure")


def _content(entry: HistoryEntry) -> AgentContent:
    """Its words; raw JSON, which is how some servers tell of files, is nothing to be read."""
    text = entry.html.strip()
    if text.startswith("{") and text.endswith("}"):
        return UnknownContent(None, text)
    return AgentText(entry.html)


def _by_agent(entry: HistoryEntry, ids: set[AgentId]) -> bool:
    """A person's words at the desk; a server that does not tell whose gets the benefit of names."""
    if entry.by_customer or entry.notice:
        return False
    return entry.user_type > 0 or entry.agent_id in ids


def _speaker(entry: HistoryEntry, agents: tuple[Agent, ...]) -> Agent:
    for agent in agents:
        if agent.id == entry.agent_id or (not entry.agent_id and len(agents) == 1):
            return agent
    return Agent(entry.agent_id or AgentId("agent"), entry.name)
