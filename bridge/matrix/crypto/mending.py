"""New sessions in place of broken ones, beside everything else.

To begin one, the other side's homeserver has to be asked twice, and it may be slow, or mean to be.
So nobody waits for it: each is a task of its own, and a homeserver has only a few at a time; the
others wait their turn, for all customers may live on one. What finds no place even to wait is let
go; the next letter that cannot be read brings it up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from bridge.ids import UserId
from bridge.matrix.crypto.arrivals import Arrivals
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.store import StoreError

AT_ONCE = 20
OF_SERVER = 4
"""Of those, for users of one homeserver."""
TOGETHER, TOGETHER_OF_SERVER = 1_000, 400
"""The same with those that wait."""


class _Turns:
    """What is under way with one homeserver."""

    def __init__(self) -> None:
        self.count = 0
        self.places = asyncio.Semaphore(OF_SERVER)


class Mending:
    """Begins tasks in a group that somebody else owns.

    Args:
        arrivals: begins the sessions.
        clock: the time.
    """

    def __init__(self, arrivals: Arrivals, clock: Clock) -> None:
        self._arrivals = arrivals
        self._clock = clock
        self._group: asyncio.TaskGroup | None = None
        self._count = 0
        self._places = asyncio.Semaphore(AT_ONCE)
        self._servers: dict[str, _Turns] = {}
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    def begin(self, user: UserId, broken: Iterable[tuple[str, str]]) -> set[asyncio.Task[None]]:
        """Mend what can be taken on.

        Args:
            user: one of ours.
            broken: sender and identity key of devices whose letters it cannot read.

        Returns:
            The tasks, for whoever wants to wait for them a while.
        """
        begun = set()
        for sender, curve25519 in broken:
            server = sender.partition(":")[2]
            turns = self._servers.get(server) or _Turns()
            full = self._count >= TOGETHER or turns.count >= TOGETHER_OF_SERVER
            if self._group is None or full:
                self._log.info("a broken session is left as it is for now", user=sender)
                continue
            work = self._mend(user, sender, curve25519, server)
            try:
                begun.add(self._group.create_task(work))
            except RuntimeError:
                work.close()  # we are about to end
                break
            self._count += 1
            turns.count += 1
            self._servers[server] = turns
        return begun

    def work_in(self, group: asyncio.TaskGroup | None) -> None:
        """From now on begin tasks there; None: begin no more."""
        self._group = group

    async def _mend(self, user: UserId, sender: str, curve25519: str, server: str) -> None:
        turns = self._servers[server]
        try:
            async with turns.places, self._places:
                await self._arrivals.renew(user, sender, curve25519, self._clock.now())
        except (Unavailable, Refused, StoreError) as error:
            self._log.info("a broken session cannot be replaced yet", user=sender, why=str(error))
        except Exception:  # noqa: BLE001 - logged whole; one device must not end all others' mending
            self._log.exception("a broken session could not be replaced", user=sender)
        finally:
            self._count -= 1
            turns.count -= 1
            if not turns.count:
                del self._servers[server]
