"""Who is typing in one room, told to the other side: system notice 5 and 113 (reference 2.2, 1.2).

Nothing here is stored, nothing waits for it and nothing is lost if it fails: a failure is a line in
the debug log. An agent's notice shows their ghost typing for six seconds, in which the next one
comes if they go on; it ends at once when their message stands in the room. A customer who types is
told to the agent for as long as the homeserver says so, every five seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

import structlog

from bridge.config.model import Permission
from bridge.conversation.model import Chatting
from bridge.ids import AgentId, SessionId, UserId
from bridge.rooms.carrying import Stopping
from bridge.rooms.mirror import Mirror
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Membership
from bridge.rooms.surroundings import Surroundings

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


class Typist:
    """The signs of one room.

    Args:
        mirror: what of the room is in memory.
        around: the two sides, the clock and the rules.
        spawn: owns a task.
        pause: waits so many seconds; raises Stopping.
    """

    def __init__(
        self,
        mirror: Mirror,
        around: Surroundings,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._mirror = mirror
        self._around = around
        self._spawn = spawn
        self._pause = pause
        self._shown: dict[UserId, int] = {}
        """Ghosts that are shown typing, and when that was said last (ms)."""
        self._to_tell: dict[UserId, float] = {}
        self._telling = False
        self._typing = False
        """A customer is typing, as far as the homeserver has said."""
        self._hinting = False
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=mirror.room_id
        )

    # --- agent to customer ----------------------------------------------------------------------

    def agent_types(self, session_id: SessionId, agent_id: AgentId) -> None:
        """An agent of this session is typing; who is not in the room is not shown."""
        chat = self._chat()
        if chat is None or chat.session_id != session_id:
            return
        agents = [one for one in chat.agents if one.id == agent_id]
        if not agent_id and len(chat.agents) == 1:
            agents = list(chat.agents)  # as their messages are read (trap T15)
        now = self._around.clock.now()
        for agent in agents:
            ghost = self._around.matrix.ghost_of(agent)
            if now - self._shown.get(ghost, 0) >= AFRESH * 1000:
                fresh = {one: at for one, at in self._shown.items() if now - at < SHOWN * 1000}
                self._shown = {**fresh, ghost: now}
                self._tell(ghost, SHOWN)

    def agent_spoke(self, ghost: UserId) -> None:
        """A message of the agent's stands in the room."""
        said = self._shown.pop(ghost, None)
        if said is not None and self._around.clock.now() - said < SHOWN * 1000:
            self._tell(ghost, 0)

    def _tell(self, ghost: UserId, seconds: float) -> None:
        self._to_tell[ghost] = seconds
        if not self._telling:
            self._telling = True
            self._spawn(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            while self._to_tell:
                ghost, seconds = self._to_tell.popitem()
                await self._show(ghost, seconds)
        finally:
            self._telling = False

    async def _show(self, ghost: UserId, seconds: float) -> None:
        try:
            async with asyncio.timeout(LONGEST_TELLING):
                await self._around.matrix.show_typing(self._mirror.room_id, ghost, seconds)
        except (Unavailable, Refused, TimeoutError) as error:
            self._log.debug("typing not shown", ghost=ghost, why=str(error) or "no answer in time")

    # --- customer to agent ----------------------------------------------------------------------

    def people_type(self, users: Collection[UserId]) -> None:
        """These are typing in the room at the moment, our own among them; nobody else is."""
        rules, matrix = self._around.rules, self._around.matrix
        self._typing = any(
            not matrix.is_ours(user) and rules.permission(user) >= Permission.CUSTOMER
            for user in users
        )
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
                self._around.link.typing(self._mirror.room_id, session_id)
                await self._pause(HINT_GAP)
        except Stopping:
            return
        finally:
            self._hinting = False

    def _session(self) -> SessionId | None:
        """The session whose agent may be told; a paused room tells nothing."""
        chat = self._chat()
        return None if chat is None or self._mirror.record.settings.paused else chat.session_id

    def _chat(self) -> Chatting | None:
        """The chat that both sides see."""
        record = self._mirror.record
        phase = record.conversation.phase
        if record.membership is not Membership.JOINED or not isinstance(phase, Chatting):
            return None
        return None if phase.unwanted else phase
