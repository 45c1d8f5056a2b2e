"""Three bridges that share one PostgreSQL, as an operator starts them: chats go on, whoever ends.

The long form is tests/chaos/test_replicas.py.
"""

from __future__ import annotations

import asyncio
import signal

import pytest

from bridge.demo.child_process import ServerError
from tests.support.postgres import postgres_server
from tests.support.replicas import Replicas, judge, say, taken_over, three, under_load

__all__ = ["postgres_server", "three"]


@pytest.mark.asyncio
async def test_one_dies_one_stands_still_and_one_is_restarted(three: Replicas) -> None:
    async with under_load(three, 3) as (chats, _):
        owner = await three.owner(chats[0].talk.room)
        await three.bridges[owner].kill()
        took = await taken_over(three, chats[:1], owner)
        await three.bridges[owner].start()
        await three.until_shared(3)
        owner = await three.owner(chats[1].talk.room)
        three.signal(owner, signal.SIGSTOP)
        await asyncio.sleep(3)
        three.signal(owner, signal.SIGCONT)
        owner = await three.owner(chats[2].talk.room)
        assert await three.bridges[owner].stop() == 0
        await three.until_shared(2)
        await three.bridges[owner].start()
        await three.until_shared(3)
    await judge(three, chats, 1)
    say(f"takeover after kill -9: {took:.2f} s")


@pytest.mark.asyncio
async def test_with_encryption_one_more_is_refused(three: Replicas) -> None:
    """It would take no part in the others' locks; it says what would let it."""
    bridge = three.bridges[2]
    assert await bridge.stop() == 0
    assert bridge.environment is not None
    bridge.environment = {**bridge.environment, "MATRIX_WEBCHAT_BRIDGE__ENCRYPTION__ALLOW": "true"}
    with pytest.raises(ServerError, match="ended with 14"):
        await bridge.start()
    assert "`bridge.encryption.allow: false`" in bridge.log_file.read_text(encoding="utf-8")
