"""The lane to WebChat: one call or upload at a time, each settled exactly once.

A row is marked *attempted* before its bytes go to the socket: right before it, or as it is stored,
where it goes out at once because the call centre has answered a moment ago. A row that is found
attempted but unsettled after a restart is therefore uncertain: its outcome goes back to the
machine, which sends the content again under its old call id and lets the ledger say so.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

import structlog

from bridge.conversation.machine import wants_link
from bridge.conversation.model import (
    CallFailed,
    CallWebChat,
    Clip,
    FailureReason,
    Input,
    Replied,
    Uploaded,
    UploadMedia,
)
from bridge.ids import CallId
from bridge.media import voice
from bridge.rooms.blobs import keep
from bridge.rooms.commits import Done
from bridge.rooms.effects import load_effect
from bridge.rooms.ports import CHANGED_FILE, Blob, CallFailure, Refused, TooBig, Unavailable
from bridge.rooms.reader import Came
from bridge.rooms.room import Room
from bridge.rooms.store import (
    EffectRow,
    Outcome,
    StoreError,
)
from bridge.rooms.surroundings import Surroundings
from bridge.webchat.codes import ResultCode, Verdict, meaning
from bridge.webchat.frames import Reply

_SAID_NO = frozenset(
    {FailureReason.REFUSED, FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED}
)


class WebChatLane:
    """Implements `room.LaneRunner`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.webchat")

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Carry out one row; whatever goes wrong, even in our own code, is an outcome."""
        attempt = _Attempt(row.attempted is not None)
        try:
            return _done(*await self._carry_out(room, row, attempt))
        except Exception as error:  # noqa: BLE001 - logged whole, and the conversation goes on
            return self._broken(room, row, error, attempted=attempt.made)

    def _broken(self, room: Room, row: EffectRow, error: Exception, *, attempted: bool) -> Done:
        """What our own code's failure at a call is to the conversation."""
        self._log.error(
            "a call could not be carried out", room=room.room_id, seq=row.seq, exc_info=error
        )
        reason = FailureReason.NO_ANSWER if attempted else FailureReason.UNREACHABLE
        failure = CallFailure(reason, certain=not attempted, message=type(error).__name__)
        return _done(*_failed(CallId(row.call_id or 0), failure))

    def begin(self, room: Room, row: EffectRow, done: Callable[[Done], None]) -> bool:
        """Write a call that is stored as attempted, if nothing is in the way; False: `run` it."""
        effect = load_effect(row.effect)
        if not isinstance(effect, CallWebChat) or not wants_link(room.record.conversation):
            return False
        if _overtaken(room, effect.call_id):
            return False

        def told(answer: Reply | CallFailure) -> None:
            try:
                came_of_it = _done(*self._answered(room, effect, answer))
            except Exception as error:  # noqa: BLE001 - as in `run`: the socket's reader goes on
                came_of_it = self._broken(room, row, error, attempted=True)
            done(came_of_it)

        return self._around.link.call_now(room.account, effect.call_id, effect.command, told)

    async def _carry_out(
        self, room: Room, row: EffectRow, attempt: _Attempt
    ) -> tuple[Outcome, Input, str]:
        effect = load_effect(row.effect)
        match effect:
            case CallWebChat():
                return await self._call(room, row, effect, attempt)
            case UploadMedia():
                return await self._upload(room, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")

    async def _call(
        self, room: Room, row: EffectRow, effect: CallWebChat, attempt: _Attempt
    ) -> tuple[Outcome, Input, str]:
        if attempt.made:
            return _failed(effect.call_id, CallFailure(FailureReason.NO_ANSWER, certain=False))
        if not wants_link(room.record.conversation):  # given up in the step that asked for it
            return _failed(effect.call_id, CallFailure(FailureReason.NO_TURN, certain=True))
        mark = partial(self._mark_attempted, room, row, effect.call_id, attempt)
        answer: Reply | CallFailure
        try:
            answer = await self._around.link.call(
                room.account, effect.call_id, effect.command, mark
            )
        except CallFailure as failure:
            answer = failure
        return self._answered(room, effect, answer)

    def _answered(
        self, room: Room, effect: CallWebChat, answer: Reply | CallFailure
    ) -> tuple[Outcome, Input, str]:
        """What an answer of the call centre's is to the ledger and to the conversation."""
        if isinstance(answer, CallFailure):
            self._log.info(
                "call failed",
                room=room.room_id,
                call=effect.call_id,
                what=type(effect.command).__name__,
                why=answer.reason,
                certain=answer.certain,
            )
            return _failed(effect.call_id, answer)
        if answer.result == ResultCode.SUCCESS:
            return Outcome.DELIVERED, Replied(effect.call_id, answer), str(answer.result)
        self._note_refusal(room, effect, answer.result)
        return Outcome.REFUSED, Replied(effect.call_id, answer), str(answer.result)

    def _note_refusal(self, room: Room, effect: CallWebChat, code: int) -> None:
        """Tell the operator, by the vendor's name; loudly if nobody else can do anything."""
        about = meaning(code)
        grave = about.verdict is Verdict.CONFIGURATION
        self._log.log(
            logging.WARNING if grave else logging.INFO,
            "WebChat refused a command",
            room=room.room_id,
            call=effect.call_id,
            what=type(effect.command).__name__,
            result=code,
            name=about.name,
            meaning=about.says,
        )

    async def _mark_attempted(
        self, room: Room, row: EffectRow, call_id: CallId, attempt: _Attempt
    ) -> None:
        """The bytes go out now, unless the customer has thought better of it while they waited.

        Raises:
            CallFailure: they do not.
        """
        if _overtaken(room, call_id):
            raise CallFailure(FailureReason.OVERTAKEN, certain=True)
        if row.marked:
            attempt.made = True
            return
        try:
            await self._around.store.mark_attempted(row.seq, self._around.clock.now())
        except StoreError as error:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message=f"our own database: {error}"
            ) from error
        attempt.made = True

    async def _upload(
        self, room: Room, effect: UploadMedia, *, token_may_end: bool = True
    ) -> tuple[Outcome, Input, str]:
        """Stream the file through; a repeat after a crash only leaves an unused copy behind.

        A token that ends now is nobody's trouble: a login is under way, and the file is read anew.
        """
        try:
            done = await self._stream(room, effect)
        except CallFailure as failure:
            if token_may_end and failure.code == ResultCode.INVALID_TOKEN:
                return await self._upload(room, effect, token_may_end=False)
            self._log.info(
                "upload failed",
                room=room.room_id,
                call=effect.call_id,
                why=failure.reason,
                code=failure.code,
            )
            return _failed(effect.call_id, failure)
        return Outcome.DELIVERED, done, "" if done.clip is None else "in the frame"

    async def _stream(self, room: Room, effect: UploadMedia) -> Uploaded:
        """Where the file lies on the WebChat server, or what of it goes into the frame.

        Raises:
            CallFailure: with whoever was at fault.
        """
        limit = self._around.rules.file_limit
        try:
            async with self._around.matrix.download(effect.media, limit) as blob:
                if effect.media.kind == "voice":
                    return await self._voice(room, effect.call_id, blob)
                return await self._file(room, effect.call_id, blob)
        except TooBig as error:
            failure = CallFailure(FailureReason.TOO_BIG, certain=True, message=str(error))
            failure.limit = limit
            raise failure from error
        except Refused as error:
            changed = error.code == CHANGED_FILE
            reason = FailureReason.MEDIA_CHANGED if changed else FailureReason.MEDIA_GONE
            raise CallFailure(reason, certain=True, message=error.code) from error
        except Unavailable as error:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message=str(error)
            ) from error

    async def _voice(self, room: Room, call_id: CallId, blob: Blob) -> Uploaded:
        """A voice message travels as AMR inside its frame; one that does not fit is a file."""
        fits = self._around.rules.clip_bytes()
        async with keep(blob) as kept:
            try:
                # Four characters of base64 carry three bytes.
                converting = asyncio.get_running_loop().run_in_executor(
                    self._around.conversions, voice.to_amr, kept.stream, fits // 4 * 3
                )
                sound = await converting
            except voice.NoSound:
                sound = None
            if sound is not None:
                clip = Clip(max(1, round(sound.seconds)), base64.b64encode(sound.data).decode())
                return Uploaded(call_id, "", len(sound.data), clip)
            whole = Blob(kept.chunks(), kept.size, blob.mime, blob.name)
            return await self._file(room, call_id, whole)

    async def _file(self, room: Room, call_id: CallId, blob: Blob) -> Uploaded:
        counter = _Counter(blob)
        url = await self._around.link.upload(room.account, counter.blob)
        return Uploaded(call_id, url, counter.count)


def _done(outcome: Outcome, happened: Input, detail: str) -> Done:
    return Done(came=(Came(happened),), outcome=outcome, detail=detail)


def _overtaken(room: Room, call_id: CallId) -> bool:
    """True if the customer has thought better of a call while it waited."""
    asked = room.record.conversation.outstanding
    if asked is None or asked.call_id != call_id or asked.held is None:
        return False
    return asked.moot or asked.stale


class _Attempt:
    """Whether the peer may have seen a call."""

    def __init__(self, made: bool) -> None:  # noqa: FBT001 - the only thing to say
        self.made = made


class _Counter:
    """Counts the bytes that really pass: the sender's claim about a size is only a claim."""

    def __init__(self, blob: Blob) -> None:
        self.count = 0
        self.blob = Blob(self._chunks(blob), blob.size, blob.mime, blob.name)

    async def _chunks(self, blob: Blob) -> AsyncIterator[bytes]:
        async for chunk in blob.chunks:
            self.count += len(chunk)
            yield chunk


def _failed(call_id: CallId, failure: CallFailure) -> tuple[Outcome, Input, str]:
    happened = CallFailed(
        call_id,
        failure.reason,
        certain=failure.certain,
        code=failure.code,
        limit=failure.limit,
    )
    if not failure.certain:
        outcome = Outcome.UNCERTAIN
    elif failure.reason in _SAID_NO:
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.FAILED
    detail = failure.reason if failure.code is None else f"{failure.reason} {failure.code}"
    return outcome, happened, detail
