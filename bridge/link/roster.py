"""The links there are: made for a room when it first needs one, forgotten when it has rested.

An idle room costs nothing here. Every link has a task of its own in the group that it is given, so
that one link's trouble never delays another's.
"""

from __future__ import annotations

import asyncio

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.ids import RoomId
from bridge.link.keeper import LinkState, Shared
from bridge.link.learnt import Feature
from bridge.link.link import Link
from bridge.rooms.ports import Account, CallFailure
from bridge.webchat.frames import Command


class Roster:
    """All links of one server. Holds none before `open` and after `close`."""

    def __init__(self) -> None:
        self.closed = False
        """It was open and will not be again."""
        self._links: dict[RoomId, tuple[Link, asyncio.Task[None]]] = {}
        self._running: tuple[asyncio.TaskGroup, Shared] | None = None

    def open(self, group: asyncio.TaskGroup, around: Shared) -> None:
        """From now on make links, as tasks of this group."""
        self._running = (group, around)

    async def close(self) -> None:
        """End every link, without a logout (row 87). Those who still wait for one are told.

        What the links have read is stored meanwhile, as far as that goes in `LAST_WORDS` seconds
        (`deliveries`).
        """
        self._running = None
        self.closed = True
        links = list(self._links.values())
        self._links.clear()
        for link, task in links:
            link.abandon()
            task.cancel()
        if links:
            await asyncio.wait([task for _, task in links])

    def get(self, account: Account) -> Link:
        """Return the room's link, made if there is none.

        Raises:
            CallFailure: the roster is not open.
        """
        if self._running is None:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message="the links are not running"
            )
        known = self._links.get(account.room_id)
        if known is not None:
            known[0].speak_for(account)
            return known[0]
        group, around = self._running
        link = Link(account, around)
        self._links[account.room_id] = (link, group.create_task(self._run(link, around)))
        return link

    def known(self, room_id: RoomId) -> Link | None:
        """Return the room's link if there is one."""
        link, _ = self._links.get(room_id, (None, None))
        return link

    def hint(self, room_id: RoomId, feature: Feature, command: Command) -> None:
        """Send a hint over the room's link, if it has one, without waiting for it."""
        link = self.known(room_id)
        if link is not None and self._running is not None:
            group, _ = self._running
            group.create_task(link.hint(feature, command))

    def states(self) -> dict[RoomId, LinkState]:
        """Return where each link stands."""
        return {room_id: link.keeper.state for room_id, (link, _) in self._links.items()}

    async def _run(self, link: Link, around: Shared) -> None:
        """Run one link until it is forgotten. Nothing that happens in it may reach the others."""
        account = link.keeper.account
        while True:
            try:
                await link.run()
                if await link.rested():
                    break
            except Exception as error:  # noqa: BLE001 - a bug in one link must not end them all
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.error(
                    "webchat link crashed",
                    room_id=account.room_id,
                    errors=[type(inner).__name__ for inner in _leaves(error)],
                )
                await around.clock.sleep(around.settings.timing.backoff_last)
        # No await between the last look at the demand and this: nobody can have come in between.
        self._links.pop(account.room_id, None)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
