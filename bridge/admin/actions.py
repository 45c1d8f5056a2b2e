"""Handlers of the operations that change something (table in `operations`).

A change in a room is an order: an input of the room, carried out with admin rights by the process
that serves it, and audited there. A change of the store's rows is audited here after it is done: a
crash in between loses the audit row, but never audits a change that was not made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256

from bridge.admin import shapes
from bridge.admin.ports import ApiError, Bridge, Caller, not_found
from bridge.admin.views import LETTER_GONE, made, record_in, room_of, rules_of
from bridge.ids import EventId, RoomId
from bridge.rooms import erasure
from bridge.rooms.record import Order, RoomRecord, load_input
from bridge.rooms.rules import BadOrder
from bridge.rooms.store import Change, DeadLetter


async def order_room(bridge: Bridge, caller: Caller, asked: shapes.OrderAsked) -> shapes.Ordered:
    """Run a command in a room with admin rights; its answer is posted there."""
    order = Order(caller.actor, caller.way, asked.words)
    return await _order(bridge, caller, asked, order)


async def set_room_settings(
    bridge: Bridge, caller: Caller, asked: shapes.SettingsWished
) -> shapes.Ordered:
    """Change settings of a room: all of them, or none if one is invalid."""
    settings = {
        key: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in asked.settings.items()
    }
    order = Order(caller.actor, caller.way, settings=settings)
    return await _order(bridge, caller, asked, order)


async def _order(
    bridge: Bridge, caller: Caller, asked: shapes.Repeatable, order: Order
) -> shapes.Ordered:
    row, record = await room_of(bridge, asked.room_id)
    number = ""
    if asked.request_id:
        named = "\n".join((row.room_id, order.actor, order.way, asked.request_id))
        number = sha256(named.encode()).hexdigest()[:16]
    if not await _given(bridge, row.room_id, number, order):
        try:
            key = await bridge.orders.order(row.room_id, order, number)
        except BadOrder as bad:
            sentence = bad.sentence(rules_of(bridge, record), caller.language)
            raise ApiError(400, "M_INVALID_PARAM", sentence) from bad
        if number:  # a concurrent request may have stored another order under it
            await _given(bridge, row.room_id, number, order)
        number = key.removeprefix("order:")
    return shapes.Ordered(room_id=row.room_id, order=number)


async def _given(bridge: Bridge, room_id: RoomId, number: str, order: Order) -> bool:
    """Return True if this order was stored under `number`; ApiError (409) if another was."""
    key = EventId(f"order:{number}")
    if not number or await bridge.around.store.input(room_id, key) is None:
        return False
    given = await bridge.around.store.body_of(room_id, key)
    if given and load_input(given) != order:
        sentence = "This request_id was already used for another order: choose a new one."
        raise ApiError(409, "M_CONFLICT", sentence)
    return True


async def forget_account(bridge: Bridge, caller: Caller, asked: shapes.RoomAsked) -> shapes.Done:
    """Delete a room's account and token: its next link logs in anew; an open link stays up."""
    row, record = await room_of(bridge, asked.room_id)
    if not await bridge.around.store.forget_account(row.room_id):
        raise not_found("This room has no account; it gets one with its next chat.")
    await _audit(bridge, caller, "account forget", record)
    return shapes.Done()


async def retry_dead_letter(
    bridge: Bridge, caller: Caller, asked: shapes.LetterAsked
) -> shapes.Done:
    """Retry a dead letter."""
    revive = bridge.around.store.revive
    letter = await _decided(bridge, caller, asked, "dead-letters retry", revive)
    bridge.orders.reload_room(letter.room_id)
    return shapes.Done()


async def discard_dead_letter(
    bridge: Bridge, caller: Caller, asked: shapes.LetterAsked
) -> shapes.Done:
    """Discard a dead letter. Its content is never delivered."""
    await _decided(bridge, caller, asked, "dead-letters discard", bridge.around.store.discard)
    return shapes.Done()


async def erase_data(bridge: Bridge, caller: Caller, asked: shapes.EraseAsked) -> shapes.Erasure:
    """Erase all data of a room or a person; repeat the request until `done` is true."""
    around = bridge.around
    try:
        if asked.dry_run:
            told = await erasure.survey(around.store, asked.subject, around.matrix.is_ours)
        else:
            told = await erasure.erase(
                around.store,
                asked.subject,
                around.matrix.is_ours,
                clock=around.clock,
                tell=bridge.orders.tell,
                by=(caller.actor, caller.way),
                force=asked.force,
                stay=asked.stay,
                redact=asked.redact,
                patience=0,
            )
    except erasure.BadSubject as error:
        raise ApiError(400, "M_INVALID_PARAM", str(error)) from error
    except erasure.StillChatting as error:
        raise ApiError(409, "M_CONFLICT", f"{error}: set `force` to end it first.") from error
    return made(shapes.Erasure, told, kept=[made(shapes.KeptData, one) for one in told.kept])


async def _decided(
    bridge: Bridge,
    caller: Caller,
    asked: shapes.LetterAsked,
    key: str,
    decide: Callable[[str, int], Awaitable[bool]],
) -> DeadLetter:
    """Apply `decide` to a dead letter and audit it; ApiError (404) if the letter is gone."""
    letter = await bridge.around.store.letter(asked.letter_id)
    if letter is None or not await decide(letter.id, bridge.around.clock.now()):
        raise not_found(LETTER_GONE)
    row = await bridge.around.store.room(letter.room_id)
    record = RoomRecord(letter.room_id) if row is None else record_in(row)
    await _audit(bridge, caller, key, record, letter.id)
    return letter


async def _audit(
    bridge: Bridge, caller: Caller, key: str, record: RoomRecord, about: str = ""
) -> None:
    now, enterprise = bridge.around.clock.now(), bridge.named(record.enterprise)
    done = Change(now, caller.actor, caller.way, key, about, "", record.room_id, enterprise)
    await bridge.around.store.record_changes([done])
