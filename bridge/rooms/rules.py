"""The operator's decisions, as far as the rooms ring asks: built from the config, never changed.

A reload of the configuration replaces them as a whole (`surroundings`), so a step is decided by one
set of rules from beginning to end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

import msgspec

from bridge.config.hours import Hours
from bridge.config.model import Permission
from bridge.conversation.policy import Policy
from bridge.ids import QueueId, RoomId, UserId
from bridge.rooms.commands import narrow
from bridge.rooms.record import RoomRecord, RoomSettings
from bridge.texts import DEFAULT_LANGUAGE, Texts
from bridge.texts.languages import fallbacks
from bridge.webchat.codes import Source

SOURCES = tuple(source.value for source in Source)
"""What a room can choose for `from`."""
STARTS = ("on_message", "on_command")
"""When a chat is asked for."""


class QueueRule(msgspec.Struct, frozen=True):
    """One queue of the call centre."""

    id: QueueId
    name: str
    aliases: tuple[str, ...] = ()
    source: str = "APP"
    to_agent: str = ""
    hours: Hours | None = None
    """When it is open, as far as the operator said."""


class RatingRule(msgspec.Struct, frozen=True):
    """A rating that the server takes."""

    id: int
    labels: dict[str, str]
    """Language -> what it is called."""

    def label(self, language: str) -> str:
        """In this language, or in the nearest that there is."""
        for wanted in fallbacks(language):
            if wanted in self.labels:
                return self.labels[wanted]
        return next(iter(self.labels.values()), str(self.id))


class Rules(msgspec.Struct, frozen=True):
    """See the config keys of the same names."""

    bot: UserId
    queues: tuple[QueueRule, ...]
    default_queue: QueueId
    permission: Callable[[str], Permission]
    queue_of_user: Callable[[UserId], QueueId | None]
    """The queue whose user this is, or None."""
    prefix: str = "!wc"
    language: str = DEFAULT_LANGUAGE
    start: str = "on_message"
    source: str = "APP"
    messages_per_minute: int = 60
    rooms_per_user: int = 5
    new_rooms_per_hour: int = 10
    file_limit: int = 50 * 1024 * 1024
    """Bytes, both ways."""
    encryption: bool = False
    """We take part in encrypted rooms."""
    encrypt_rooms: bool = False
    """Rooms that invite us become encrypted where we may."""
    encryption_required: bool = False
    """What people type is carried only if it was encrypted."""
    policy: Policy = Policy()
    texts: Texts = Texts()
    """All that we say, to customers and to agents."""
    ratings: tuple[RatingRule, ...] = ()
    """The best first; empty: one to five stars. A server's own list goes before."""
    robot: bool = False
    """The command `ask` reaches the knowledge base."""
    km_base_url: str = ""
    """Where the knowledge base's articles can be read; empty: no links."""
    agents_language: str | None = None
    """Of the sentences that agents read; None: the room's."""
    tell_reactions: bool = True
    """Agents are told of reactions."""
    tell_members: bool = False
    """Agents are told who comes into a shared room, and who leaves it."""
    tell_withdrawals: bool = True
    """Agents are told of messages that were taken back."""
    seal: Callable[[RoomId, str], bytes] | None = None
    """Seals a password with the operator's secret; None: customers' own accounts are not taken."""
    login_key: Callable[[RoomId], str] | None = None
    """Makes a new room's `RoomRecord.key`, with the operator's secret; None: it has none."""
    timezone: tzinfo | None = None
    """Of the people in the rooms; None: nobody has said, so times are told in UTC."""
    longest_text: Callable[[], int] | None = None
    """Bytes of text that fit into one frame at the moment; None: as `policy` says."""
    longest_clip: Callable[[], int] | None = None
    """The same for a voice, which no dialect writes twice."""

    def queue(self, queue_id: int) -> QueueRule | None:
        """The queue of that id."""
        return next((queue for queue in self.queues if queue.id == queue_id), None)

    def find_queue(self, text: str) -> QueueRule | None:
        """The queue of that id, name or alias; letter case, and wide letters or narrow, aside."""
        wanted = _folded(text)
        for queue in self.queues:
            if wanted in map(_folded, (str(queue.id), queue.name, *queue.aliases)):
                return queue
        return None

    def zone_of(self, queue_id: int) -> tzinfo | None:
        """By whose clock the queue opens; None if nobody said."""
        queue = self.queue(queue_id)
        return queue.hours.zone if queue is not None and queue.hours is not None else None

    def queue_name(self, queue_id: int) -> str:
        """What people call it."""
        queue = self.queue(queue_id)
        return queue.name if queue is not None else str(queue_id)

    def queue_for(self, record: RoomRecord) -> QueueId:
        """The room admin's choice, else the queue of the user who was invited, else the default."""
        if record.settings.queue is not None:
            return record.settings.queue
        return self.queue_of_user(record.host) or self.default_queue

    def language_for(self, settings: RoomSettings) -> str:
        return settings.language or self.language

    def clip_bytes(self) -> int:
        """Bytes of a voice, as base64, that fit into one frame."""
        return self.policy.max_text_bytes if self.longest_clip is None else self.longest_clip()

    def policy_for(self, record: RoomRecord) -> Policy:
        """The machine's policy for this room."""
        queue = self.queue(self.queue_for(record))
        source = record.settings.source or (queue.source if queue is not None else self.source)
        start = record.settings.start or self.start
        longest = self.policy.max_text_bytes if self.longest_text is None else self.longest_text()
        return msgspec.structs.replace(
            self.policy,
            max_text_bytes=longest,
            queue_id=self.queue_for(record),
            source=source,
            to_agent=queue.to_agent if queue is not None else "",
            start_on_message=start == "on_message",
            paused=record.settings.paused,
        )


def _folded(text: str) -> str:
    return narrow(text).strip().casefold()
