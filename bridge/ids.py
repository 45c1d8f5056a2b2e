"""A distinct type for each identifier, so that the type checker finds mix-ups."""

from functools import lru_cache
from hashlib import sha256
from typing import NewType
from zlib import crc32

RoomId = NewType("RoomId", str)
"""A Matrix room id: opaque, without a server part from room version 12 on."""
UserId = NewType("UserId", str)
"""A full Matrix user id, `@localpart:domain`."""
EventId = NewType("EventId", str)
"""A Matrix event id."""
AgentId = NewType("AgentId", str)
"""Wire `agentId`: an opaque text, usually six characters."""
QueueId = NewType("QueueId", int)
"""Wire `queueId`."""
RequestId = NewType("RequestId", int)
"""Wire `requestId`: a queue request, the customer's place in a queue."""
SessionId = NewType("SessionId", int)
"""Wire `sessionId`: one WebChat chat."""
CallId = NewType("CallId", int)
"""Wire `messageId`: number of a command, repeated in its reply."""
InputSeq = NewType("InputSeq", int)
"""Number of a journal row, taken as the input that it holds."""
EffectSeq = NewType("EffectSeq", int)
"""Number of a journal row, taken as the effect that it holds."""

SHARDS = 256
"""Number of shards of the rooms; must never change, as all processes have to agree on it."""


def server_of(user_id: str) -> str:
    """Return the name of the homeserver in a Matrix user id."""
    return user_id.partition(":")[2]


def localpart_of(user_id: str) -> str:
    """Return the part of a Matrix user id between `@` and the server name."""
    return user_id[1:].partition(":")[0]


@lru_cache(4_000)
def digest_of(name: str) -> str:
    """Return 12 hex digits that stand for a user or a device, as in transaction ids."""
    return sha256(name.encode()).hexdigest()[:12]


def shard_of(room_id: str) -> int:
    """Return the shard of a room, from 0 to 255, by a hash that is the same in every process."""
    return crc32(room_id.encode("utf-8", "surrogatepass")) % SHARDS
