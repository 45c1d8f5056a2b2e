"""What of a transaction is over in a moment: who is typing (application service API, `ephemeral`).

Receipts and presence come by the same way, many more of them, and mean nothing to us: they are
skipped without being decoded. None of this is ever repeated by the homeserver, and so nothing that
cannot be read here may cost a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bridge.ids import RoomId, UserId

NOTHING = msgspec.Raw(b"[]")
_TYPING = b'"m.typing"'


class _Kind(msgspec.Struct):
    type: str


class _Typists(msgspec.Struct):
    user_ids: list[UserId]


class _Typing(msgspec.Struct):
    """`m.typing` (client-server API, "Typing notifications")."""

    room_id: RoomId
    content: _Typists


_list = msgspec.json.Decoder(list[msgspec.Raw])
_kind = msgspec.json.Decoder(_Kind)
_typing = msgspec.json.Decoder(_Typing)


def typing_in(ephemeral: msgspec.Raw) -> Iterator[tuple[RoomId, list[UserId]]]:
    """Who is typing in which room from now on; an empty list: nobody any more."""
    if _TYPING not in bytes(ephemeral):
        return
    for raw in _entries(ephemeral):
        try:
            if _kind.decode(raw).type == "m.typing":
                told = _typing.decode(raw)
                yield told.room_id, told.content.user_ids
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue


def _entries(ephemeral: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _list.decode(ephemeral)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
