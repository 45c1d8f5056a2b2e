"""Read receipts and typing notifications, in both directions.

A receipt marks the newest message that the call centre has accepted, in a chat or with a queue
request. That is read from the durable record, so no receipt precedes the acknowledgement, and a
crash only repeats one, which is harmless: homeservers never move a receipt back. The first is sent
at once, the next after `PAUSE`, and while people go on writing, one every two `PAUSE`s.

Typing is system notice 5 (from agents) and 113 (to them; reference 2.2, 1.2). It is never stored,
nothing waits for it, and failures are logged at debug level only. An agent's ghost is shown typing
for six seconds, or until their message is in the room. A customer's typing is sent to the agent
every five seconds while the homeserver reports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from itertools import islice

import msgspec
import structlog

from bridge.conversation.model import AgentsCame, Chatting, Queued
from bridge.ids import AgentId, EventId, SessionId, UserId
from bridge.rooms.ports import Refused, Unavailable, describe
from bridge.rooms.record import Membership
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import RoomView
from bridge.rooms.visit import peek

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")

PAUSE = 5.0
"""Seconds between two receipts of a room; doubled while people go on writing."""
FIRST_PAUSE = 2.0
"""Seconds until the second attempt; the back-off is doubled with each further failure."""
TRIES = 7
"""Attempts while the homeserver does not answer; after that, the next message's receipt counts."""
_LOOKED_AT = 6
"""Number of rows of the Matrix lane that are searched for an agent's joining."""


class Receipts(msgspec.Struct, eq=False):
    """Read receipts of one room; `once` must not run concurrently with itself."""

    _room: RoomView
    _done: tuple[EventId | None, UserId | None] = None, None
    """The last event whose receipt was sent or given up, and the agent's ghost that read it."""
    _failures: int = 0
    _not_before: int = 0
    _pause: int = 0
    """Pause (ms) that ends at `_not_before`: limits the wait if the clock is set back."""

    @property
    def due(self) -> bool:
        """True if a receipt is due, and the agent's ghost is not about to join."""
        newest, (done, reader) = self._newest(), self._done
        if newest is None or self._room.durable.membership is not Membership.JOINED:
            return False
        if newest == done and reader is not None:
            return False  # an agent of a later chat has not read it
        if self._agent() is None:
            return newest != done  # receipt sent by the host
        # The lane may be about to join the ghost; `due` is read again after that.
        rows = islice(self._room.rows(Lane.MATRIX), _LOOKED_AT)
        return not any(isinstance(peek(row), AgentsCame) for row in rows)

    async def once(self) -> bool:
        """Send a receipt, after a pause if necessary; return whether another is due."""
        wait, pause, due = self._not_before - self._room.around.clock.now(), PAUSE, self.due
        wait = min(wait, self._pause)
        if due and wait > 0:
            await self._room.pause(wait / 1000)
            pause, due = 2 * PAUSE, self.due
        newest = self._newest()
        if newest is None or not due:
            return False
        done, agent, room_id = True, self._agent(), self._room.room_id
        try:
            await self._give(newest)
        except Unavailable as error:
            pause = FIRST_PAUSE * 2**self._failures
            self._failures += 1
            _log.info("read receipt not sent yet", room=room_id, wait=pause, why=str(error))
            done = self._failures == TRIES
        except Refused as error:
            _log.info("read receipt refused", room=room_id, why=error.code)
        if done:
            self._done, self._failures = (newest, agent), 0
        self._pause = round(pause * 1000)
        self._not_before = self._room.around.clock.now() + self._pause
        return self.due

    def _newest(self) -> EventId | None:
        """Event id of the newest message that the call centre has, queue request included."""
        record = self._room.durable
        phase = record.conversation.phase
        if isinstance(phase, Chatting) or not isinstance(phase, Queued):  # the usual case first
            return record.read_up_to
        sent = (piece.event_id for piece in reversed(phase.pre_sent) if piece.last)
        return next(sent, record.read_up_to)

    async def _give(self, event_id: EventId) -> None:
        """Send the receipt as the chat's first agent or, if that is refused, as the host."""
        matrix, room_id = self._room.around.matrix, self._room.durable.matrix_id
        agent = self._agent()
        if agent is not None:
            try:
                await matrix.mark_read(room_id, agent, event_id)
            except Refused as error:
                why = error.code
                _log.debug("read receipt of an agent refused", room=room_id, user=agent, why=why)
            else:
                return
        await matrix.mark_read(room_id, self._room.durable.host, event_id)

    def _agent(self) -> UserId | None:
        phase = self._room.durable.conversation.phase
        if not isinstance(phase, Chatting) or not phase.agents:
            return None
        return self._room.around.matrix.ghost_of(phase.agents[0])


SHOWN = 6.0
"""Seconds that a ghost is shown typing (reference 2.2)."""
AFRESH = 3.0
"""Seconds in which further notices are ignored: agents' desks send one a second."""
LONGEST_TELLING = 5.0
"""Timeout in seconds of a typing request; after that, the notification is outdated anyway."""
HINT_GAP = 5.0
"""Seconds between two typing hints (113) to the agent: the server wants no more."""
MOST_HINTS = 12
"""Maximum hints in a row: whoever types for a minute without sending has left the keyboard."""


class Typist(msgspec.Struct, eq=False):
    """Typing notifications of one room; `_start`: see `Loops.start`."""

    _room: RoomView
    _start: Callable[[str, Callable[[], Awaitable[bool]]], None]
    _shown: dict[UserId, int] = {}
    """Ghost shown as typing -> time of its last notification (ms)."""
    _to_tell: dict[UserId, float] = {}
    _typing: bool = False
    """True while a customer is typing, as the homeserver last reported."""
    _hints: int = 0
    """Number of hints sent in a row."""

    # --- agent to customer ----------------------------------------------------------------------

    def agent_types(self, session_id: SessionId, agent_id: AgentId) -> None:
        """Show an agent of this session (0: the present one) as typing, if known in the chat."""
        chat = self._chat()
        if chat is None or session_id not in {chat.session_id, 0}:
            return
        agents = [agent for agent in chat.agents if agent.id == agent_id]
        if not agent_id and len(chat.agents) == 1:
            agents = list(chat.agents)  # no agent id, as in messages (trap T15)
        now = self._room.around.clock.now()
        for agent in agents:
            ghost = self._room.around.matrix.ghost_of(agent)
            if not 0 <= now - self._shown.get(ghost, 0) < AFRESH * 1000:
                fresh = {event: at for event, at in self._shown.items() if now - at < SHOWN * 1000}
                self._shown = {**fresh, ghost: now}
                self._tell(ghost, SHOWN)

    def agent_spoke(self, ghost: UserId) -> None:
        """Stop showing the agent as typing, as their message is in the room."""
        shown_at = self._shown.pop(ghost, None)
        if shown_at is not None and self._room.around.clock.now() - shown_at < SHOWN * 1000:
            self._tell(ghost, 0)

    def _tell(self, ghost: UserId, seconds: float) -> None:
        self._to_tell[ghost] = seconds
        self._start("typing", self._tell_one)

    async def _tell_one(self) -> bool:
        """Send a notification that waits; False if there is no other."""
        if not self._to_tell:  # the one before has failed by a bug
            return False
        matrix, room_id = self._room.around.matrix, self._room.durable.matrix_id
        ghost, seconds = self._to_tell.popitem()
        try:
            async with asyncio.timeout(LONGEST_TELLING):
                await matrix.show_typing(room_id, ghost, seconds)
        except (Unavailable, Refused, TimeoutError) as error:
            _log.debug("typing not shown", room=room_id, user=ghost, why=describe(error))
        return bool(self._to_tell)

    # --- customer to agent ----------------------------------------------------------------------

    def people_type(self, users: Collection[UserId]) -> None:
        """Handle the homeserver's typing list: all users typing now, bridge users included."""
        rules, matrix = self._room.around.rules, self._room.around.matrix
        people = [user for user in users if not matrix.is_ours(user)]
        self._typing = any(map(rules.serves, people))
        if self._typing and self._session() is not None:
            self._start("hints", self._hint)

    async def _hint(self) -> bool:
        """Send a hint to the agent, repeated while typing lasts: the homeserver reports changes."""
        session_id = self._session()
        if not self._typing or session_id is None or self._hints == MOST_HINTS:
            self._hints = 0
            return False
        self._hints += 1
        self._room.around.link.typing(self._room.room_id, session_id)
        await self._room.pause(HINT_GAP)
        return True

    def _session(self) -> SessionId | None:
        """The session whose agent gets hints; None if the room is paused."""
        chat = self._chat()
        return None if chat is None or self._room.durable.settings.paused else chat.session_id

    def _chat(self) -> Chatting | None:
        """The running chat; None if its request was cancelled, or the host is not in the room."""
        record = self._room.durable
        phase = record.conversation.phase
        if record.membership is not Membership.JOINED or not isinstance(phase, Chatting):
            return None
        return None if phase.unwanted else phase
