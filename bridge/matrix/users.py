"""User ids of our Matrix users: the bot, one user per queue, one ghost per agent.

An agent id is escaped as the Matrix specification's appendix "Mapping from other character sets"
says: UTF-8; `_` becomes `__`; an upper-case letter `_` and its lower-case twin; every other byte
that a localpart may not hold, and `=`, becomes `=` and two hex digits. It is collision-free, and
since a single `_` is never followed by a digit, no agent id can escape to `queue_1`. The same
grammar is the ghosts' namespace, so that (as shipped) it does not overlap with the queue users'.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from bridge.ids import AgentId, QueueId, UserId

ESCAPED = r"(?:[a-z0-9.\-/]|=[0-9a-f]{2}|=h[0-9a-f]{40}|_[a-z_])*"
"""The grammar of an escaped agent id; plain enough for RE2 and Rust's regex too."""

_MAX_USER_ID = 255
"""Bytes (Matrix specification, appendix "User identifiers")."""
_MAX_CACHED = 10_000
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-/")


def escape(text: str) -> str:
    out: list[str] = []
    for char in text:
        if char in _PLAIN:
            out.append(char)
        elif char == "_":
            out.append("__")
        elif "A" <= char <= "Z":
            out.append("_" + char.lower())
        else:
            # A lone surrogate is no character; as bytes it is still distinct from every other.
            out.extend(f"={byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    return "".join(out)


def _ends(key: str, template: str, field: str) -> tuple[str, str]:
    """What stands before and behind the one field of a template."""
    before, found, behind = template.partition(field)
    if not found or set("{}") & set(before + behind):
        raise ValueError(f"{key} must contain {field} once, and no other field")
    if not before + behind:
        raise ValueError(
            f"{key} needs a prefix or suffix beside {field}: it would claim every user"
        )
    if not re.fullmatch(r"[a-z0-9._=/+-]*", before + behind):
        raise ValueError(f"{key} may hold only a-z, 0-9 and . _ = - / +")
    return before, behind


class OurUsers:
    """User ids of the bot, the queue users and the ghosts.

    Raises ValueError, which begins with the name of the template: it lacks its field, holds
    characters that no localpart may hold, or would give a name that another of ours has.
    """

    def __init__(
        self,
        domain: str,
        bot_localpart: str,
        username_template: str,
        queue_ids: Iterable[QueueId] = (),
        queue_template: str = "webchat_queue_{queue}",
    ) -> None:
        ends = _ends("username_template", username_template, "{agent}")
        queue_ends = _ends("queue_username_template", queue_template, "{queue}")
        self._tail = f":{domain}"
        self._prefix, self._suffix = f"@{ends[0]}", ends[1] + self._tail
        self._queue_name = f"@{queue_ends[0]}%d{queue_ends[1]}{self._tail}"
        tail = re.escape(self._tail)
        self._ghost = re.compile(f"@{re.escape(ends[0])}{ESCAPED}{re.escape(ends[1])}{tail}")
        self._queue = re.compile(f"@{'[0-9]+'.join(map(re.escape, queue_ends))}{tail}")
        self.bot = UserId(f"@{bot_localpart}{self._tail}")
        # The namespaces for the registration.
        self.ghost_regex = f"^{self._ghost.pattern}$"
        self.queue_regex = f"^{self._queue.pattern}$"
        self.bot_regex = f"^{re.escape(self.bot)}$"
        self._queues = {self.queue_user(queue_id): queue_id for queue_id in queue_ids}
        # Both are asked several times for each event.
        self.is_ours: Callable[[str], bool] = lru_cache(_MAX_CACHED)(self._is_ours)
        """True for the bot, queue users (configured or not) and ghosts."""
        self.ghost: Callable[[AgentId], UserId] = lru_cache(_MAX_CACHED)(self._ghost_of)
        """Ghost of an agent; one name per agent, for ever."""
        for name in (self.bot, *self._queues, *map(self.queue_user, (QueueId(1), QueueId(10)))):
            if self._ghost.fullmatch(name):
                raise ValueError(f"username_template would give an agent the name {name}")
        if self._queue.fullmatch(self.bot):
            raise ValueError(f"queue_username_template would give a queue the name {self.bot}")

    def _is_ours(self, user_id: str) -> bool:
        return self.is_open_to_all(user_id) or self._ghost.fullmatch(user_id) is not None

    def is_host(self, user_id: str) -> bool:
        """True for users that a customer may invite: the bot and users of configured queues."""
        return user_id == self.bot or user_id in self._queues

    def is_open_to_all(self, user_id: str) -> bool:
        """True for users whose names anybody may register: the bot and queue users."""
        return user_id == self.bot or self._queue.fullmatch(user_id) is not None

    def hosts(self) -> tuple[UserId, ...]:
        """All users that a customer may invite, the bot first."""
        return (self.bot, *self._queues)

    def queue_user(self, queue_id: QueueId) -> UserId:
        return UserId(self._queue_name % queue_id)

    def queue_of(self, user_id: str) -> QueueId | None:
        return self._queues.get(UserId(user_id))

    def _ghost_of(self, agent_id: AgentId) -> UserId:
        name = self._prefix + escape(agent_id) + self._suffix
        if len(name) > _MAX_USER_ID:
            # "=h" is no escape ("h" is no hex digit), so a digest collides with no escaped id.
            digest = hashlib.sha256(agent_id.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{self._prefix}=h{digest[:40]}{self._suffix}"
        return UserId(name)
