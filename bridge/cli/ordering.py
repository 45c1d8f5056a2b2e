"""`order` and `changes`: commands in a room from outside it, and the audit trail."""

from __future__ import annotations

import click
import msgspec

from bridge.cli.console import ExitCode, json_option, on_config, stop
from bridge.cli.database import hand_in, print_table, utc, with_store
from bridge.config import Config
from bridge.ids import RoomId
from bridge.rooms.store import Change
from bridge.rooms.surroundings import SystemClock, Upgrades
from bridge.storage.sqlstore import SqlStore


@click.command()
@on_config
@click.argument("room_id")
@click.argument("words", nargs=-1, required=True)
def order(config: Config, room_id: str, words: tuple[str, ...]) -> None:
    """Run a command in a room with admin rights: `order '!room:example.org' queue set 2`."""
    # Imported late, as in `console`.
    from bridge.app.settings import FIRST, all_rules_of
    from bridge.rooms.engine import order_for
    from bridge.rooms.record import Order
    from bridge.rooms.rules import BadOrder, Rules

    rules = all_rules_of(config)
    some = next(iter(rules.values()))
    given = Order("operator", "cli", " ".join(words))

    async def store_order(store: SqlStore) -> None:
        upgrades = Upgrades()
        await upgrades.load(store)
        where = upgrades.record_of(RoomId(room_id))
        first = await store.fact(FIRST) or ""

        def of_room(enterprise: str) -> Rules:
            return rules.get(enterprise or first, some)

        await hand_in(store, await order_for(store, where, given, of_room, SystemClock().now()))

    try:
        with_store(config, store_order)
    except BadOrder as bad:
        stop(ExitCode.FAILED, bad.sentence(some))
    click.echo("Stored; a running bridge carries it out within seconds.")


@click.command()
@on_config
@json_option
@click.option("-n", "--limit", default=50, type=click.IntRange(1, 10_000), show_default=True)
@click.argument("room_id", required=False)
def changes(config: Config, room_id: str | None, limit: int, *, as_json: bool) -> None:
    """Print the audit trail of a room or of all: who changed what, when and how, newest first."""

    async def ask(store: SqlStore) -> list[Change]:
        upgrades = Upgrades()
        await upgrades.load(store)
        where = None if room_id is None else upgrades.record_of(RoomId(room_id))
        return await store.changes(where, limit=limit)

    found = with_store(config, ask)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    if not found:
        click.echo("No changes.")
        return
    lines = (
        (utc(one.at), one.actor, one.way, one.key, one.before, one.after, one.room_id)
        for one in found
    )
    print_table(("time (UTC)", "who", "way", "what", "before", "after", "room"), lines)
