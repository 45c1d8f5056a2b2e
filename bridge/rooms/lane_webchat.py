"""The lane to WebChat: one call or upload at a time, each settled exactly once.

A row is marked *attempted* right before its bytes go to the socket. A row that is found attempted
but unsettled after a restart is therefore uncertain: its outcome goes back to the machine, which
sends the content again under its old call id and lets the ledger say so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import structlog

from bridge.conversation.effects import CallWebChat, UploadMedia
from bridge.conversation.inputs import CallFailed, FailureReason, Input, Replied, Uploaded
from bridge.conversation.model import CustomerMedia
from bridge.ids import CallId
from bridge.rooms.ports import Blob, CallFailure, Refused, TooBig, Unavailable
from bridge.rooms.serial import dump_input, load_effect
from bridge.rooms.store import (
    InputRow,
    NewInput,
    OutboxRow,
    Outcome,
    Settlement,
    StoreError,
)
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker

_SAID_NO = frozenset(
    {FailureReason.REFUSED, FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED}
)


class WebChatLane:
    """Implements `worker.LaneRunner`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.webchat")

    async def run(self, worker: Worker, row: OutboxRow) -> list[InputRow]:
        """Carry out one row and settle it.

        Raises:
            StoreError: the outcome could not be stored; the row counts as not carried out.
        """
        effect = load_effect(row.effect)
        match effect:
            case CallWebChat():
                outcome, happened, detail = await self._call(worker, row, effect)
            case UploadMedia():
                outcome, happened, detail = await self._upload(worker, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")
        settlement = Settlement(
            row.seq,
            outcome,
            self._around.clock.now(),
            detail,
            inputs=[NewInput(worker.room_id, dump_input(happened))],
        )
        self._around.measures.settled(row.lane, outcome, settlement.now - row.created)
        return await self._settle(settlement)

    async def _settle(self, settlement: Settlement) -> list[InputRow]:
        """The call must not be made again because the database was away for a moment."""
        while True:
            try:
                return await self._around.store.settle(settlement)
            except StoreError as error:
                self._log.warning("the outcome could not be stored yet", why=str(error))
                await self._around.clock.sleep(1)

    async def _call(
        self, worker: Worker, row: OutboxRow, effect: CallWebChat
    ) -> tuple[Outcome, Input, str]:
        if row.attempted is not None:
            return _failed(effect.call_id, CallFailure(FailureReason.NO_ANSWER, certain=False))
        mark = partial(self._mark_attempted, row)
        try:
            reply = await self._around.link.call(
                worker.account, effect.call_id, effect.command, mark
            )
        except CallFailure as failure:
            self._log.info(
                "call failed",
                room=worker.room_id,
                call=effect.call_id,
                what=type(effect.command).__name__,
                why=failure.reason,
                certain=failure.certain,
            )
            return _failed(effect.call_id, failure)
        outcome = Outcome.DELIVERED if reply.ok else Outcome.REFUSED
        return outcome, Replied(effect.call_id, reply), str(reply.result)

    async def _mark_attempted(self, row: OutboxRow) -> None:
        try:
            await self._around.store.mark_attempted(row.seq, self._around.clock.now())
        except StoreError as error:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message=f"our own database: {error}"
            ) from error

    async def _upload(self, worker: Worker, effect: UploadMedia) -> tuple[Outcome, Input, str]:
        """Stream the file through; a repeat after a crash only leaves an unused copy behind."""
        try:
            url, size = await self._stream(worker, effect.media)
        except CallFailure as failure:
            return _failed(effect.call_id, failure)
        return Outcome.DELIVERED, Uploaded(effect.call_id, url, size), ""

    async def _stream(self, worker: Worker, media: CustomerMedia) -> tuple[str, int]:
        """The file's address on the WebChat server and the bytes that went there.

        Raises:
            CallFailure: with whoever was at fault.
        """
        limit = self._around.rules.file_limit
        try:
            async with self._around.matrix.download(media, limit) as blob:
                counter = _Counter(blob)
                return await self._around.link.upload(worker.account, counter.blob), counter.count
        except TooBig as error:
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message=str(error)) from error
        except Refused as error:
            raise CallFailure(FailureReason.MEDIA_GONE, certain=True, message=error.code) from error
        except Unavailable as error:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message=str(error)
            ) from error


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
    happened = CallFailed(call_id, failure.reason, certain=failure.certain, code=failure.code)
    if not failure.certain:
        outcome = Outcome.UNCERTAIN
    elif failure.reason in _SAID_NO:
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.FAILED
    detail = failure.reason if failure.code is None else f"{failure.reason} {failure.code}"
    return outcome, happened, detail
