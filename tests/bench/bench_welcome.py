"""Time from a customer's invitation to the welcome on their screen.

Run it as a program: `python -m tests.bench.bench_welcome [invitations]`. A real Synapse (SQLite),
the simulator and the bridge run on this machine; the invitations come one by one, so no time is
spent in queues. Clear rooms, then encrypted ones.

"seen" is from before the customer's call to after their /sync; "server" is the difference of
Synapse's timestamps of the two events.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from tests.support.matrix_user import Customer, Event
from tests.support.stage import Stage, StageOptions, set_stage

ENCRYPTED = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


async def welcome(stage: Stage, customer: Customer, *, encrypted: bool) -> tuple[float, float]:
    """Invite the bot into a new room; returns the seconds "seen" and "server"."""
    state = [ENCRYPTED] if encrypted else []
    reply = await customer.call(
        "POST", "v3/createRoom", {"preset": "trusted_private_chat", "initial_state": state}
    )
    room = str(reply["room_id"])
    await customer.sync()
    began = time.perf_counter()
    await customer.call("POST", f"v3/rooms/{room}/invite", {"user_id": stage.bot})

    def greets(event: Event) -> bool:
        kind = "m.room.encrypted" if encrypted else "m.room.message"
        return event.get("type") == kind and event.get("sender") == stage.bot

    greeting = await customer.wait_for(room, greets)
    took = time.perf_counter() - began

    def invites(event: Event) -> bool:
        content = event.get("content")
        return isinstance(content, dict) and content.get("membership") == "invite"

    invitation = await customer.wait_for(room, invites)
    sent, answered = (int(str(one["origin_server_ts"])) for one in (invitation, greeting))
    return took, (answered - sent) / 1000


async def main(invitations: int) -> None:
    table = Table("room", "", "p50 ms", "p95 ms", "longest ms")
    limits = {
        "messages_per_minute": 1000,
        "rooms_per_user": 10_000,
        "new_rooms_per_hour": 1_000_000,
    }
    bridge = {"permissions": {"localhost": "customer"}, "language": "en", "limits": limits}
    with tempfile.TemporaryDirectory() as folder:
        async with set_stage(Path(folder), StageOptions(config={"bridge": bridge})) as stage:
            customer = await stage.customer("newcomer")
            for encrypted in (False, True):
                await welcome(stage, customer, encrypted=encrypted)  # warm-up
                measured = [
                    await welcome(stage, customer, encrypted=encrypted) for _ in range(invitations)
                ]
                for name, times in zip(
                    ("seen", "server"), zip(*measured, strict=True), strict=True
                ):
                    cuts = statistics.quantiles(times, n=20)
                    figures = (statistics.median(times), cuts[18], max(times))
                    kind = "encrypted" if encrypted else "clear"
                    table.add_row(kind, name, *(f"{value * 1000:.0f}" for value in figures))
    Console().print(table)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
