"""Read receipts and typing notices: what each side sees of the other beside the messages.

A receipt shows what the call centre has taken, in a chat or with a request for one, and nothing
else. That stands in the room's record, so no receipt is ahead of what is known for certain, and
after a crash it is given anew: repeating one does no harm, and a homeserver lets none go back. The
first goes out at once, the next `PAUSE` seconds later, and while people write on, one every two.

Who is typing is told as system notice 5 and 113 (reference 2.2, 1.2). Nothing of it is stored,
nothing waits for it, and a failure is a line in the debug log. An agent's notice shows their ghost
typing for six seconds, or until their message stands in the room. A customer who types is told to
the agent for as long as the homeserver says so, every five seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from itertools import islice
from typing import Any

import msgspec
import structlog

from bridge.config.model import SERVED
from bridge.conversation.model import AgentsCame, Chatting, Queued
from bridge.ids import AgentId, EventId, SessionId, UserId
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Membership
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import RoomView, Stopping
from bridge.rooms.visit import peek

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")

PAUSE = 5.0
"""Seconds between two receipts of a room; twice as long while people go on writing."""
FIRST_PAUSE = 2.0
"""Seconds before another attempt; twice as long each time."""
TRIES = 6
"""Attempts while the homeserver does not answer; after that, the next message's has to do."""
_LOOKED_AT = 6
"""Rows of the Matrix lane among which an agent may be about to come in."""


class Receipts(msgspec.Struct, eq=False):
    """Read receipts of one room; `once` must not run twice at a time."""

    _room: RoomView
    _done: tuple[EventId | None, UserId | None] = None, None
    """The newest that needs no more (given, or given up), and the agent who read it."""
    _failures: int = 0
    _not_before: int = 0
    _pause: int = 0
    """ms that led to `_not_before`: a clock that was set back makes the wait no longer."""

    @property
    def due(self) -> bool:
        """True if `once` has something to do: the agent who reads is in the room."""
        newest, agent = self._newest(), self._agent()
        if newest is None or self._room.durable.membership is not Membership.JOINED:
            return False
        if newest == self._done[0] and (agent is None or self._done[1] is not None):
            return False  # an agent of a later chat has not read it
        if agent is None:
            return True
        # The Matrix lane may bring the ghost in soon; whoever runs us asks again when it has.
        rows = islice(self._room.rows(Lane.MATRIX), _LOOKED_AT)
        return not any(isinstance(peek(row), AgentsCame) for row in rows)

    async def once(self) -> bool:
        """Give a receipt as soon as one may be given; False if there is no other to give."""
        wait, pause = self._not_before - self._room.around.clock.now(), PAUSE
        wait = min(wait, self._pause)
        if self.due and wait > 0:
            await self._room.pause(wait / 1000)
            pause = 2 * PAUSE
        newest = self._newest()
        if newest is None or not self.due:
            return False
        done, agent, room_id = True, self._agent(), self._room.room_id
        try:
            await self._give(newest)
        except Unavailable as error:
            self._failures += 1
            pause = FIRST_PAUSE * 2**self._failures
            _log.info("a receipt was not given yet", room=room_id, wait=pause, why=str(error))
            done = self._failures == TRIES
        except Refused as error:
            _log.info("a receipt cannot be given", room=room_id, why=error.code)
        if done:
            self._done, self._failures = (newest, agent), 0
        self._pause = round(pause * 1000)
        self._not_before = self._room.around.clock.now() + self._pause
        return self.due

    def _newest(self) -> EventId | None:
        """The newest message that the call centre has, be it with the request that waits."""
        record = self._room.durable
        phase = record.conversation.phase
        sent = phase.pre_sent if isinstance(phase, Queued) else ()
        return next((one.event_id for one in reversed(sent) if one.last), record.read_up_to)

    async def _give(self, event_id: EventId) -> None:
        """Mark as read as the first agent of the chat, or where none can, as our host."""
        matrix, room_id = self._room.around.matrix, self._room.durable.matrix_id
        agent = self._agent()
        if agent is not None:
            try:
                await matrix.mark_read(room_id, agent, event_id)
            except Refused as error:
                why = error.code
                _log.debug("an agent's ghost cannot read", room=room_id, user=agent, why=why)
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
"""Seconds within which a further notice changes nothing: agents' desks send one a second."""
LONGEST_TELLING = 5.0
"""Seconds that a homeserver may take to be told; after that the sign is over anyway."""
HINT_GAP = 5.0
"""Seconds between two hints to the agent; more often the server does not want them."""
MOST_HINTS = 12
"""Hints in a row; a minute of typing without a word is a forgotten keyboard."""


class Typist(msgspec.Struct, eq=False):
    """Typing notifications of one room; `_spawn` owns a task."""

    _room: RoomView
    _spawn: Callable[[Coroutine[Any, Any, None]], None]
    _shown: dict[UserId, int] = {}
    """Ghosts that are shown typing, and when that was said last (ms)."""
    _to_tell: dict[UserId, float] = {}
    _telling: bool = False
    _typing: bool = False
    """A customer is typing, as far as the homeserver has said."""
    _hinting: bool = False

    # --- agent to customer ----------------------------------------------------------------------

    def agent_types(self, session_id: SessionId, agent_id: AgentId) -> None:
        """An agent of this session is typing; who is not in the room is not shown."""
        chat = self._chat()
        if chat is None or chat.session_id != session_id:
            return
        agents = [one for one in chat.agents if one.id == agent_id]
        if not agent_id and len(chat.agents) == 1:
            agents = list(chat.agents)  # as their messages are read (trap T15)
        now = self._room.around.clock.now()
        for agent in agents:
            ghost = self._room.around.matrix.ghost_of(agent)
            if not 0 <= now - self._shown.get(ghost, 0) < AFRESH * 1000:
                fresh = {one: at for one, at in self._shown.items() if now - at < SHOWN * 1000}
                self._shown = {**fresh, ghost: now}
                self._tell(ghost, SHOWN)

    def agent_spoke(self, ghost: UserId) -> None:
        """A message of the agent's stands in the room."""
        said = self._shown.pop(ghost, None)
        if said is not None and self._room.around.clock.now() - said < SHOWN * 1000:
            self._tell(ghost, 0)

    def _tell(self, ghost: UserId, seconds: float) -> None:
        self._to_tell[ghost] = seconds
        if not self._telling:
            self._telling = True
            self._spawn(self._tell_all())

    async def _tell_all(self) -> None:
        matrix, room_id = self._room.around.matrix, self._room.durable.matrix_id
        try:
            while self._to_tell:
                ghost, seconds = self._to_tell.popitem()
                try:
                    async with asyncio.timeout(LONGEST_TELLING):
                        await matrix.show_typing(room_id, ghost, seconds)
                except (Unavailable, Refused, TimeoutError) as error:
                    why = str(error) or "no answer in time"
                    _log.debug("typing not shown", room=room_id, user=ghost, why=why)
        finally:
            self._telling = False

    # --- customer to agent ----------------------------------------------------------------------

    def people_type(self, users: Collection[UserId]) -> None:
        """Typing notification of the homeserver: all users who are typing now, ours among them."""
        rules, matrix = self._room.around.rules, self._room.around.matrix
        people = [user for user in users if not matrix.is_ours(user)]
        self._typing = any(rules.permission(user) in SERVED for user in people)
        if self._typing and not self._hinting and self._session() is not None:
            self._hinting = True
            self._spawn(self._hint())

    async def _hint(self) -> None:
        """Tell the agent, again and again while it lasts: the homeserver tells beginnings only."""
        try:
            for _ in range(MOST_HINTS):
                session_id = self._session()
                if not self._typing or session_id is None:
                    return
                self._room.around.link.typing(self._room.room_id, session_id)
                await self._room.pause(HINT_GAP)
        except Stopping:
            return
        finally:
            self._hinting = False

    def _session(self) -> SessionId | None:
        """The session whose agent may be told; a paused room tells nothing."""
        chat = self._chat()
        return None if chat is None or self._room.durable.settings.paused else chat.session_id

    def _chat(self) -> Chatting | None:
        """The chat that both sides see."""
        record = self._room.durable
        phase = record.conversation.phase
        if record.membership is not Membership.JOINED or not isinstance(phase, Chatting):
            return None
        return None if phase.unwanted else phase
