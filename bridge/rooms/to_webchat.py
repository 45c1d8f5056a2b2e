"""The lane to WebChat: one call or upload at a time, each settled exactly once.

A row is marked *attempted* before its bytes go to the socket: right before the write, or already
when it is stored, if the call centre has answered lately and the call goes out at once. A row found
attempted but unsettled after a restart is therefore uncertain: the machine is told, sends the
content again under the same call id, and the ledger marks the repeat.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath

import msgspec
import structlog
from msgspec.structs import replace

from bridge.conversation.machine import wants_link
from bridge.conversation.model import (
    CallFailed,
    CallWebChat,
    Clip,
    Replied,
    ToWebChat,
    Uploaded,
    UploadMedia,
)
from bridge.ids import CallId
from bridge.media import formats
from bridge.rooms.blobs import Kept, keep
from bridge.rooms.ports import (
    CHANGED_FILE,
    Blob,
    CallFailure,
    NoSpace,
    Refused,
    TooBig,
    Unavailable,
    describe,
)
from bridge.rooms.record import RoomRecord
from bridge.rooms.room import Room
from bridge.rooms.store import EffectRow, Outcome, StoreError
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Came, Done, log_fields
from bridge.webchat.codes import FailureReason, ResultCode, meaning
from bridge.webchat.frames import Reply

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.webchat")
_effects: msgspec.json.Decoder[ToWebChat] = msgspec.json.Decoder(ToWebChat)
"""Decoder of this lane's effects only."""
_LONGEST_AMR = 1024 * 1024
"""Maximum bytes of an uploaded AMR voice message: just above the longest in the best quality."""
AWAY = 20.0
"""Seconds between attempts to fetch a file while the homeserver is away."""
_SAID_NO = {FailureReason.REFUSED, FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED}


class WebChatLane:
    def begin(self, room: Room, row: EffectRow, done: Callable[[Done], None]) -> bool:
        """Write a call that is stored as attempted; return False if it needs `run` instead."""
        effect, record = row.call or _effects.decode(row.effect), room.record
        if not isinstance(effect, CallWebChat) or not wants_link(record.conversation):
            return False
        if _overtaken(record, effect.call_id):
            return False

        def on_answer(answer: Reply | CallFailure) -> None:
            try:
                result = _answered(room, row, effect, answer)
            except Exception as error:  # noqa: BLE001 - as in `run`: the socket's reader goes on
                result = _broken(room, row, error, attempted=True)
            done(result)

        return room.around.link.call_now(room.account, effect.call_id, effect.command, on_answer)

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Carry out one row; every failure, even a bug, becomes an outcome."""
        attempted = row.attempted is not None

        async def mark() -> None:
            """Mark a call as attempted right before the write; CallFailure if it is overtaken."""
            nonlocal attempted
            if _overtaken(room.record, CallId(row.call_id or 0)):
                raise CallFailure(FailureReason.OVERTAKEN)
            if not row.marked:
                try:
                    await room.around.store.mark_attempted(row, room.around.clock.now())
                except StoreError as error:
                    why = f"the bridge's database: {error}"
                    raise CallFailure(FailureReason.UNREACHABLE, why) from error
            attempted = True

        try:
            effect = _effects.decode(row.effect)
            if isinstance(effect, CallWebChat):
                return await self._call(room, row, effect, mark)
            return await self._upload(room, row, effect)
        except msgspec.DecodeError as error:
            asked = room.record.conversation.outstanding
            if asked is not None and asked.call_id == row.call_id:
                return _broken(room, row, error, attempted=attempted)
            # No other state refers to it, as when the database's encryption key was lost.
            _log.error("a call cannot be read", **log_fields(room.record, row), exc_info=error)
            return Done(outcome=Outcome.DEAD, detail=describe(error))
        except Exception as error:  # noqa: BLE001 - logged, and the conversation goes on
            return _broken(room, row, error, attempted=attempted)

    async def _call(
        self, room: Room, row: EffectRow, effect: CallWebChat, mark: Callable[[], Awaitable[None]]
    ) -> Done:
        answer: Reply | CallFailure
        if row.attempted is not None:
            return _failed(effect.call_id, CallFailure(FailureReason.NO_ANSWER, certain=False))
        if not wants_link(room.record.conversation):  # cancelled in the step that asked for it
            return _failed(effect.call_id, CallFailure(FailureReason.NO_TURN))
        try:
            link, command = room.around.link, effect.command
            answer = await link.call(room.account, effect.call_id, command, mark)
        except CallFailure as failure:
            answer = failure
        return _answered(room, row, effect, answer)

    async def _upload(self, room: Room, row: EffectRow, effect: UploadMedia) -> Done:
        """Stream the file to WebChat; a repeat after a crash only leaves an unused copy there.

        If the token expires meanwhile, retry once: a new login is under way.
        """
        try:
            try:
                done = await self._stream(room, effect)
            except CallFailure as failure:
                if failure.code != ResultCode.INVALID_TOKEN:
                    raise
                done = await self._stream(room, effect)
        except CallFailure as failure:
            why, code = failure.reason, failure.code
            _log.info("upload failed", **log_fields(room.record, row), why=why, code=code)
            return _failed(effect.call_id, failure)
        return Done(came=(Came(done),), detail="" if done.url else "sent in the frame")

    async def _stream(self, room: Room, effect: UploadMedia) -> Uploaded:
        """Transfer a file; every failure is a CallFailure whose reason tells which side failed."""
        limit = room.around.rules.limits.file
        try:
            async with room.around.matrix.download(effect.media, limit) as blob:
                if effect.media.kind == "voice":
                    return await self._voice(room, effect.call_id, blob)
                return await self._file(room, effect.call_id, blob)
        except TooBig as error:
            raise CallFailure(FailureReason.TOO_BIG, str(error), limit=limit) from error
        except Refused as error:
            changed = error.code == CHANGED_FILE
            reason = FailureReason.MEDIA_CHANGED if changed else FailureReason.MEDIA_GONE
            raise CallFailure(reason, error.code) from error
        except NoSpace as error:
            raise CallFailure(FailureReason.INTERNAL, str(error)) from error
        except Unavailable as error:
            raise CallFailure(await self._who_is_away(room), str(error)) from error

    async def _who_is_away(self, room: Room) -> FailureReason:
        """Return why a file cannot be fetched: NO_TURN if the homeserver itself is away.

        Nobody could be told then, and the customer could not send it again: it waits.
        """
        try:
            await room.around.matrix.is_replaced(room.record.matrix_id, room.record.host)
        except Unavailable:
            await room.pause(AWAY)
            return FailureReason.NO_TURN
        except Refused:
            pass  # an answer
        return FailureReason.MEDIA_AWAY

    async def _voice(self, room: Room, call_id: CallId, blob: Blob) -> Uploaded:
        """Convert a voice message to AMR, for the frame or, if too large for that, as an upload.

        Upload the original as a file if it cannot be converted, or the server refuses voice URLs.
        """
        async with keep(blob.chunks) as kept:
            # Four characters of base64 carry three bytes.
            sound = await self._amr(room.around, kept, room.around.rules.clip_bytes() // 4 * 3)
            if sound is not None:
                clip = Clip(max(1, round(sound.seconds)), base64.b64encode(sound.data).decode())
                return Uploaded(call_id, "", len(sound.data), clip)
            if room.around.rules.long_voices():
                sound = await self._amr(room.around, kept, _LONGEST_AMR)
            if sound is not None:
                name = f"{PurePosixPath(blob.name).stem or 'voice'}.amr"
                try:
                    done = await self._file(room, call_id, Blob.of(sound.data, "audio/amr", name))
                    return replace(done, clip=Clip(max(1, round(sound.seconds)), ""))
                except CallFailure as failure:
                    if failure.reason is not FailureReason.REFUSED:
                        raise
            whole = Blob(kept.chunks(), kept.size, blob.mime, blob.name)
            return await self._file(room, call_id, whole)

    async def _amr(self, around: Surroundings, kept: Kept, most: int) -> formats.Sound | None:
        """Convert to AMR of at most `most` bytes; None if it does not fit, or is not audio."""
        try:
            run, convert = asyncio.get_running_loop().run_in_executor, formats.to_amr
            return await run(around.conversions, formats.apart, convert, kept.stream, most)
        except formats.NoSound:
            return None

    async def _file(self, room: Room, call_id: CallId, blob: Blob) -> Uploaded:
        """Upload a file and count its bytes, as the size that its sender claims may be wrong."""
        count = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal count
            async for chunk in blob.chunks:
                count += len(chunk)
                yield chunk

        counted = Blob(chunks(), blob.size, blob.mime, blob.name)
        url = await room.around.link.upload(room.account, counted)
        return Uploaded(call_id, url, count)


def _overtaken(record: RoomRecord, call_id: CallId) -> bool:
    """True if the call is moot or stale: what it asks for was taken back or changed meanwhile."""
    asked = record.conversation.outstanding
    return asked is not None and asked.call_id == call_id and (asked.moot or asked.stale)


def _answered(room: Room, row: EffectRow, effect: CallWebChat, answer: Reply | CallFailure) -> Done:
    """Return the outcome of a call, for the ledger and the conversation.

    Log a refusal with the vendor's name for its code; as a warning if only the operator can help.
    """
    if isinstance(answer, CallFailure):
        about = log_fields(room.record, row, effect.command)
        _log.info("call failed", **about, why=answer.reason, certain=answer.certain)
        return _failed(effect.call_id, answer)
    came, code = (Came(Replied(effect.call_id, answer)),), answer.result
    if answer.ok:
        return Done(came=came, detail=str(code))
    entry = meaning(code)
    _log.log(
        logging.WARNING if entry.hopeless else logging.INFO,
        "WebChat refused a command",
        **log_fields(room.record, row, effect.command),
        result=code,
        name=entry.name,
        meaning=entry.says,
    )
    return Done(came=came, outcome=Outcome.REFUSED, detail=str(code))


def _broken(room: Room, row: EffectRow, error: Exception, *, attempted: bool) -> Done:
    """Return the outcome of a call that failed by a bug of the bridge."""
    _log.error("a call could not be carried out", **log_fields(room.record, row), exc_info=error)
    reason = FailureReason.NO_ANSWER if attempted else FailureReason.UNREACHABLE
    failure = CallFailure(reason, describe(error), certain=not attempted)
    return _failed(CallId(row.call_id or 0), failure)


def _failed(call_id: CallId, failure: CallFailure) -> Done:
    happened = CallFailed(
        call_id, failure.reason, certain=failure.certain, code=failure.code, limit=failure.limit
    )
    outcome = Outcome.REFUSED if failure.reason in _SAID_NO else Outcome.FAILED
    outcome = outcome if failure.certain else Outcome.UNCERTAIN
    detail = failure.reason.value if failure.code is None else f"{failure.reason} {failure.code}"
    return Done(came=(Came(happened),), outcome=outcome, detail=detail)
