"""`erase`: delete all data of a room or a person, and report which data is kept where."""

from __future__ import annotations

from functools import partial

import click
import msgspec

from bridge.cli.console import ExitCode, json_option, on_config, stop
from bridge.cli.database import hand_in, print_table, with_store
from bridge.config import Config
from bridge.ids import RoomId
from bridge.rooms import erasure
from bridge.rooms.erasure import Report
from bridge.rooms.record import Stored, dump_input
from bridge.rooms.store import NewInput, StorePort
from bridge.rooms.surroundings import SystemClock
from bridge.storage.query import AlreadyInUse

_WARNING = "This permanently erases all data of the bridge about {}. Continue?"


@click.command()
@on_config
@click.argument("subject")
@click.option(
    "--dry-run", is_flag=True, help="Only print what would be erased, and what would be kept."
)
@click.option(
    "--force", is_flag=True, help="End current chats first; without it, they stop the command."
)
@click.option(
    "--stay", is_flag=True, help="Keep serving erased rooms, as new ones; else leave them."
)
@click.option(
    "--redact", is_flag=True, help="Also redact the latest events on Matrix, where allowed."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def erase(
    config: Config,
    subject: str,
    *,
    dry_run: bool,
    force: bool,
    stay: bool,
    redact: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase all data of a room (!…) or a person (@name:server), whether the bridge runs or not."""
    # Imported late, as in `console`.
    from bridge.app.settings import users_of

    is_ours = users_of(config).is_ours
    try:
        if dry_run or not yes:
            there = with_store(config, lambda store: erasure.survey(store, subject, is_ours))
            told = _untouched(there, force=force or dry_run)
            if dry_run:
                _show(told, as_json=as_json, title="Found")
                return
            if told.found:
                _show(told, as_json=False, title="Found", err=True)
                click.confirm(_WARNING.format(subject), abort=True, err=True)
        gone = partial(
            erasure.erase,
            subject=subject,
            is_ours=is_ours,
            clock=SystemClock(),
            by=("operator", "cli"),
            force=force,
            stay=stay,
            redact=redact,
        )
        try:
            told = with_store(config, lambda store: gone(store, tell=None), sole=True)
        except AlreadyInUse:
            if not as_json:
                click.echo("The bridge is running and erases the data itself.", err=True)
            told = with_store(config, lambda store: gone(store, tell=partial(_tell, store)))
    except erasure.BadSubject as error:
        stop(ExitCode.FAILED, str(error))
    except erasure.StillChatting as error:
        stop(ExitCode.FAILED, f"{error}: nothing was erased; use --force to end it first")
    _show(told, as_json=as_json, title="Erased")
    if not told.done:
        stop(ExitCode.FAILED, "Not everything is erased yet: the bridge continues; run this again.")


def _untouched(told: Report, *, force: bool) -> Report:
    if told.chatting and not force:
        raise erasure.StillChatting(told.chatting)
    told.left, told.done = told.found, False
    return told


async def _tell(store: StorePort, room_id: RoomId, order: Stored, key: str) -> None:
    await hand_in(store, NewInput(room_id, dump_input(order), key))


def _show(told: Report, *, as_json: bool, title: str, err: bool = False) -> None:
    if as_json:
        click.echo(msgspec.json.encode(told))
        return
    if not told.found:
        click.echo(f"The bridge has no data about {told.subject}.")
    for room_id in told.chatting:
        click.echo(f"There is a current chat or request in {room_id}.", err=err)
    if told.accounts:
        click.echo(f"Accounts at the call centre: {', '.join(told.accounts)}", err=err)
    if told.found:
        counts = ((kind, str(n), str(told.left.get(kind, 0))) for kind, n in told.found.items())
        print_table((title.lower(), "rows", "left"), counts, err=err)
    stays = ((one.what, one.where, one.why) for one in told.kept)
    print_table(("kept", "where", "why"), stays, err=err)
