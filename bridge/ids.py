"""A distinct type for each identifier, so that the type checker notices a mix-up."""

from typing import NewType
from zlib import crc32

RoomId = NewType("RoomId", str)
"""A Matrix room id: opaque, without a server part from room version 12 on."""
UserId = NewType("UserId", str)
"""A full Matrix user id, `@localpart:domain`."""
EventId = NewType("EventId", str)
"""A Matrix event id."""
AgentId = NewType("AgentId", str)
"""Whom WebChat names `agentId`: an opaque text, usually six characters."""
QueueId = NewType("QueueId", int)
"""Wire `queueId`."""
RequestId = NewType("RequestId", int)
"""Wire `requestId`: our place in a queue."""
SessionId = NewType("SessionId", int)
"""Wire `sessionId`: one WebChat chat."""
CallId = NewType("CallId", int)
"""Wire `messageId`: one command of ours, and the reply that names it."""
InputSeq = NewType("InputSeq", int)
"""A row of the journal, as the input that came."""
EffectSeq = NewType("EffectSeq", int)
"""A row of the journal, as the effect that is to be carried out."""

SHARDS = 256
"""Parts into which the rooms fall; for ever, since all processes have to agree."""


def shard_of(room_id: str) -> int:
    """The shard of a room, the same in every process: 0 to 255."""
    return crc32(room_id.encode("utf-8", "surrogatepass")) % SHARDS
