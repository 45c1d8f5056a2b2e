"""The process of `tests.support.element_x`: Element X's engine, driven by lines of JSON.

A command is an object with `op` and the fields of `Client.do_<op>`; each is answered with an
object, which has `error` if it failed. The options are those of Element X for Android.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from matrix_sdk_python._generated import matrix_sdk_base as base
from matrix_sdk_python._generated import matrix_sdk_crypto as crypto
from matrix_sdk_python._generated import matrix_sdk_ffi as sdk
from matrix_sdk_python._generated import matrix_sdk_ui as ui

Shown = dict[str, Any]
HIDDEN = (
    "CALL_MEMBER",
    "ROOM_CANONICAL_ALIAS",
    "ROOM_GUEST_ACCESS",
    "ROOM_HISTORY_VISIBILITY",
    "ROOM_JOIN_RULES",
    "ROOM_POWER_LEVELS",
    "ROOM_SERVER_ACL",
    "ROOM_TOMBSTONE",
    "SPACE_CHILD",
    "SPACE_PARENT",
    "POLICY_RULE_ROOM",
    "POLICY_RULE_SERVER",
    "POLICY_RULE_USER",
)
"""State events that Element X leaves out (its TimelineConfig)."""

BLURHASH = "L6PZfSi_.AyE_3t7t7R**0o#DgR4"
"""Of any picture: the engine sends none without."""


class Listener:
    """One method for each callback of the engine; it runs the function in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, then: Callable[[Any], None]) -> None:
        self._loop = loop
        self._then = then

    def on_update(self, value: Any) -> None:
        self._loop.call_soon_threadsafe(self._then, value)

    on_utd = call = on_update


class Timeline:
    """A room's timeline as on the screen."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.items: list[Any] = []
        self.changed = asyncio.Condition()
        self.handle: Any = None

    def apply(self, diffs: list[Any]) -> None:
        for diff in diffs:
            self._apply(diff)

    def _apply(self, diff: Any) -> None:
        items = self.items
        match type(diff).__name__.rpartition(".")[2]:
            case "APPEND":
                items.extend(diff.values)
            case "RESET":
                items[:] = diff.values
            case "CLEAR":
                items.clear()
            case "PUSH_FRONT":
                items.insert(0, diff.value)
            case "PUSH_BACK":
                items.append(diff.value)
            case "POP_FRONT":
                items.pop(0)
            case "POP_BACK":
                items.pop()
            case "INSERT":
                items.insert(diff.index, diff.value)
            case "SET":
                items[diff.index] = diff.value
            case "REMOVE":
                items.pop(diff.index)
            case "TRUNCATE":
                del items[diff.length :]
            case other:
                raise AssertionError(f"unknown difference {other}")

    def shown(self) -> list[Shown]:
        events = (item.as_event() for item in self.items)
        return [show(event) for event in events if event is not None]


class Client:
    def __init__(self, loop: asyncio.AbstractEventLoop, options: Shown) -> None:
        self._loop = loop
        self._options = options
        self._timelines: dict[tuple[str, str], Timeline] = {}
        self._undecrypted: list[str] = []
        self.client: Any = None
        self.sync: Any = None

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Log in, or restore the session that is kept in the folder, and sync."""
        folder = Path(self._options["folder"])
        kept = folder / "session.json"
        self.client = await self._build(folder)
        if kept.exists():
            fields = json.loads(kept.read_text("utf-8"))
            session = sdk.Session(**fields, sliding_sync_version=sdk.SlidingSyncVersion.NATIVE)
            await self.client.restore_session(session)
        else:
            name, password = self._options["user"], self._options["password"]
            await self.client.login(name, password, "Element X", None)
            session = self.client.session()
            names = ("access_token", "refresh_token", "user_id", "device_id", "homeserver_url")
            fields = {name: getattr(session, name) for name in (*names, "oauth_data")}
            kept.write_text(json.dumps(fields), "utf-8")
        await self.client.set_utd_delegate(
            Listener(self._loop, lambda info: self._undecrypted.append(info.event_id))
        )
        await self.client.encryption().wait_for_e2ee_initialization_tasks()
        builder = self.client.sync_service().with_share_pos(True).with_offline_mode()
        self.sync = await builder.finish()
        if self._options.get("sync", True):
            await self.sync.start()

    async def _build(self, folder: Path) -> Any:
        strict = self._options.get("strict", False)
        strategy, trust = crypto.CollectStrategy, crypto.TrustRequirement
        builder = sdk.ClientBuilder()
        builder = builder.sqlite_store(
            sdk.SqliteStoreBuilder(str(folder / "data"), str(folder / "cache"))
        )
        builder = builder.auto_enable_backups(True).auto_enable_cross_signing(True)
        builder = builder.room_key_recipient_strategy(
            strategy.IDENTITY_BASED_STRATEGY if strict else strategy.ERROR_ON_VERIFIED_USER_PROBLEM
        )
        builder = builder.decryption_settings(
            crypto.DecryptionSettings(
                sender_device_trust_requirement=trust.CROSS_SIGNED_OR_LEGACY
                if strict
                else trust.UNTRUSTED
            )
        )
        builder = builder.enable_share_history_on_invite(True)
        builder = builder.threads_enabled(self._options.get("threads", False), False)
        builder = builder.dm_room_definition(base.DmRoomDefinition.TWO_MEMBERS)
        builder = builder.cross_process_lock_config(sdk.CrossProcessLockConfig.SINGLE_PROCESS())
        builder = builder.request_config(
            sdk.RequestConfig(
                retry_limit=3, timeout=30_000, max_concurrent_requests=None, max_retry_time=None
            )
        )
        builder = builder.sliding_sync_version_builder(
            sdk.SlidingSyncVersionBuilder.DISCOVER_NATIVE
        )
        return await builder.homeserver_url(self._options["homeserver"]).build()

    async def do_background(self) -> Shown:
        """The app goes to the background: it syncs no more."""
        await self.sync.stop()
        return {}

    async def do_foreground(self) -> Shown:
        await self.sync.start()
        return {}

    # --- rooms -----------------------------------------------------------------------------------

    async def do_create_dm(self, host: str, encrypted: bool = True) -> Shown:
        """Create a direct room as Element X does; wait until the sync has it.

        A sync in the midst of the creation has the room without its encryption, and until the next
        one the engine writes in clear. A person does not type that fast.
        """
        powers = sdk.PowerLevels(
            users_default=None,
            events_default=None,
            state_default=None,
            ban=None,
            kick=None,
            redact=None,
            invite=50,
            notifications=None,
            users={},
            events={"m.call.member": 0, "org.matrix.msc3401.call.member": 0},
        )
        room = await self.client.create_room(
            sdk.CreateRoomParameters(
                name=None,
                topic=None,
                is_encrypted=encrypted,
                is_direct=True,
                visibility=sdk.RoomVisibility.PRIVATE(),
                preset=sdk.RoomPreset.TRUSTED_PRIVATE_CHAT,
                invite=[host],
                avatar=None,
                power_level_content_override=powers,
                join_rule_override=None,
                history_visibility_override=sdk.RoomHistoryVisibility.INVITED(),
                canonical_alias=None,
            )
        )
        await self.client.await_room_remote_echo(room)
        wanted = base.EncryptionState.ENCRYPTED
        while encrypted and self._room(room).encryption_state() != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return {"room": room}

    def _room(self, room: str) -> Any:
        found = self.client.get_room(room)
        assert found is not None, f"the client does not know {room}"
        return found

    async def _timeline(self, room: str, thread: str = "") -> Timeline:
        """Return the timeline that Element X opens for a room (or a thread of it)."""
        if (room, thread) in self._timelines:
            return self._timelines[room, thread]
        await self.sync.room_list_service().subscribe_to_rooms([room])
        event_type = sdk.FilterTimelineEventType
        hidden = [
            sdk.FilterTimelineEventCondition.EVENT_TYPE(
                event_type.STATE(getattr(sdk.StateEventType, name)())
            )
            for name in HIDDEN
        ]
        focus = (
            sdk.TimelineFocus.THREAD(thread)
            if thread
            else sdk.TimelineFocus.LIVE(self._options.get("threads", False))
        )
        inner = await self._room(room).timeline_with_configuration(
            sdk.TimelineConfiguration(
                focus=focus,
                filter=sdk.TimelineFilter.EVENT_FILTER(sdk.TimelineEventFilter.exclude(hidden)),
                internal_id_prefix="live",
                date_divider_mode=sdk.DateDividerMode.DAILY,
                track_read_receipts=ui.TimelineReadReceiptTracking.ALL_EVENTS,
                report_utds=True,
            )
        )
        timeline = self._timelines[room, thread] = Timeline(inner)

        async def told() -> None:
            async with timeline.changed:
                timeline.changed.notify_all()

        def update(diffs: list[Any]) -> None:
            timeline.apply(diffs)
            self._tasks.add(task := self._loop.create_task(told()))
            task.add_done_callback(self._tasks.discard)

        timeline.handle = await inner.add_listener(Listener(self._loop, update))
        await inner.fetch_members()
        return timeline

    _tasks: set[asyncio.Task[None]] = set()

    async def do_items(self, room: str, thread: str = "") -> Shown:
        return {"items": (await self._timeline(room, thread)).shown()}

    async def do_older(self, room: str, thread: str = "", count: int = 50) -> Shown:
        """Scroll up."""
        return {"start": await (await self._timeline(room, thread)).inner.paginate_backwards(count)}

    async def do_see(
        self, room: str, thread: str = "", part: str = "", reader: str | None = None,
        patience: float = 30.0, **fields: Any,
    ) -> Shown:  # fmt: skip
        """Wait for an item with these values whose text contains `part`; return the newest.

        With `reader` the mark of this user has to stand at it. Beside it there may be the mark of
        whoever has sent what is not shown after it (a card's change).
        """
        timeline = await self._timeline(room, thread)

        def found() -> Shown | None:
            for item in reversed(timeline.shown()):
                read = reader is None or reader in item["read_by"]
                if read and part in str(item.get("text", "")) and fields.items() <= item.items():
                    return item
            return None

        try:
            async with asyncio.timeout(patience), timeline.changed:
                await timeline.changed.wait_for(lambda: found() is not None)
        except TimeoutError:
            last = [outline(item) for item in timeline.shown()[-12:]]
            raise AssertionError(f"“{part}” {fields} {reader} not shown: {last}") from None
        return {"item": found()}

    async def do_room(
        self, room: str, part: str = "", patience: float = 30.0, **fields: Any
    ) -> Shown:
        """Wait until the list of rooms shows the room with these values, and `part` as its latest.

        The engine brings the list up to date a moment after the timeline.
        """
        entry: Shown = {}
        try:
            async with asyncio.timeout(patience):
                while True:
                    entry = await self._entry(room)
                    latest = str(entry["latest"].get("text", ""))
                    if part in latest and fields.items() <= entry.items():
                        return entry
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"“{part}” {fields} not in the list of rooms: {entry}") from None

    async def _entry(self, room: str) -> Shown:
        there = self._room(room)
        info = await there.room_info()
        names = (
            "display_name",
            "is_direct",
            "is_dm",
            "active_members_count",
            "joined_members_count",
            "num_unread_messages",
            "num_unread_notifications",
            "num_unread_mentions",
            "pinned_event_ids",
        )
        latest = await there.latest_event()
        kind = type(latest).__name__.rpartition(".")[2]
        shown: Shown = {"kind": kind.lower()}
        if kind in {"REMOTE", "LOCAL"}:
            shown |= show_content(latest.content) | {"sender": latest.sender}
        return {name: getattr(info, name) for name in names} | {
            "membership": info.membership.name,
            "encryption": info.encryption_state.name,
            "latest": shown,
            "identities": sorted(
                [member.user_id for member in (await there.members_no_sync()).next_chunk(100) or []]
            ),
        }

    async def do_notification(self, room: str, event: str) -> Shown:
        """What a push for this event makes the app show."""
        setup = sdk.NotificationProcessSetup.SINGLE_PROCESS(self.sync)
        there = await self.client.notification_client(setup)
        status = await there.get_notification(room, event)
        kind = type(status).__name__.rpartition(".")[2].lower()
        if kind != "event":
            return {"status": kind}
        item = status.item
        return {
            "status": kind,
            "raw": json.loads(item.raw_event),
            "sender": item.sender_info.display_name,
            "room": item.room_info.display_name,
            "noisy": item.is_noisy,
            "mention": item.has_mention,
        }

    async def do_undecrypted(self) -> Shown:
        return {"events": self._undecrypted}

    # --- what a customer does --------------------------------------------------------------------

    async def do_say(
        self, *, room: str, text: str, html: str = "", reply: str = "", thread: str = "",
        markdown: bool = False, mentions: list[str] | None = None,
    ) -> Shown:  # fmt: skip
        inner = (await self._timeline(room, thread)).inner
        content = self._content(text, html, markdown=markdown)
        if mentions:
            content = content.with_mentions(sdk.Mentions(user_ids=mentions, room=False))
        if reply:
            await inner.send_reply(content, reply)
        else:
            await inner.send(content)
        return {}

    def _content(self, text: str, html: str, *, markdown: bool) -> Any:
        if html:
            return sdk.message_event_content_from_html(text, html)
        if markdown:
            return sdk.message_event_content_from_markdown(text)
        formatted = sdk.TextMessageContent(body=text, formatted=None)
        return sdk.message_event_content_new(sdk.MessageType.TEXT(formatted))

    async def do_edit(self, room: str, event: str, text: str) -> Shown:
        content = sdk.EditedContent.ROOM_MESSAGE(self._content(text, "", markdown=True))
        inner = (await self._timeline(room)).inner
        await inner.edit(sdk.EventOrTransactionId.EVENT_ID(event), content)
        return {}

    async def do_redact(self, room: str, event: str) -> Shown:
        inner = (await self._timeline(room)).inner
        await inner.redact_event(sdk.EventOrTransactionId.EVENT_ID(event), None)
        return {}

    async def do_react(self, room: str, event: str, key: str, thread: str = "") -> Shown:
        inner = (await self._timeline(room, thread)).inner
        await inner.toggle_reaction(sdk.EventOrTransactionId.EVENT_ID(event), key)
        return {}

    async def do_ask(self, room: str, question: str, answers: list[str]) -> Shown:
        """Start a poll."""
        inner = (await self._timeline(room)).inner
        await inner.create_poll(question, answers, 1, sdk.PollKind.DISCLOSED)
        return {}

    async def do_vote(self, room: str, event: str, answers: list[str]) -> Shown:
        await (await self._timeline(room)).inner.send_poll_response(event, answers)
        return {}

    async def do_place(self, room: str, geo: str, text: str = "", own: bool = True) -> Shown:
        inner = (await self._timeline(room)).inner
        asset = sdk.AssetType.SENDER if own else sdk.AssetType.PIN
        await inner.send_location(
            f"Location was shared at {geo}", geo, text or None, 15, asset, None
        )
        return {}

    async def do_attach(
        self, room: str, kind: str, path: str, mime: str, caption: str = ""
    ) -> Shown:
        """Send a picture of 8 by 8, or a voice message of a second (`kind` image or voice)."""
        inner = (await self._timeline(room)).inner
        parameters = sdk.UploadParameters(
            source=sdk.UploadSource.FILE(path),
            caption=caption or None,
            formatted_caption=None,
            mentions=None,
            in_reply_to=None,
        )
        size = (await asyncio.to_thread(Path(path).stat)).st_size
        if kind == "image":
            sent = inner.send_image(parameters, None, image_info(mime, size))
        else:
            audio = sdk.AudioInfo(duration=timedelta(seconds=1), size=size, mimetype=mime)
            sent = inner.send_voice_message(parameters, audio, [0.1, 0.5, 0.9, 0.5, 0.1])
        await sent.join()
        return {}

    async def do_gallery(self, room: str, paths: list[str], mime: str, caption: str = "") -> Shown:
        inner = (await self._timeline(room)).inner
        parameters = sdk.GalleryUploadParameters(
            caption=caption or None, formatted_caption=None, mentions=None, in_reply_to=None
        )
        items = [gallery_item(path, mime) for path in paths]
        await inner.send_gallery(parameters, items).join()
        return {}

    async def do_typing_seen(self, room: str, user: str, patience: float = 30.0) -> Shown:
        """Wait until this user is shown as typing."""
        seen = asyncio.Event()

        def told(users: list[str]) -> None:
            if user in users:
                seen.set()

        there, listener = self._room(room), Listener(self._loop, told)
        handle = there.subscribe_to_typing_notifications(listener)
        async with asyncio.timeout(patience):
            await seen.wait()
        handle.cancel()
        return {}

    async def do_fetch(self, source: str, path: str) -> Shown:
        """Download an item's file, as opening it does; `source` is the item's."""
        data = await self.client.get_media_content(sdk.MediaSource.from_json(source))
        await asyncio.to_thread(Path(path).write_bytes, data)
        return {"size": len(data)}

    async def do_know_shared_history(self, room: str) -> Shown:
        """Wait until the sync has it that newcomers may read what was said before."""
        while not (await self._room(room).room_info()).history_visibility.is_SHARED():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return {}

    async def do_invite(self, room: str, user: str) -> Shown:
        """Invite somebody, who also gets the keys of earlier messages that may be passed on."""
        await self._room(room).invite_user_by_id(user)
        return {}

    async def do_join(self, room: str, patience: float = 30.0) -> Shown:
        """Accept an invitation, once it is shown with its inviter.

        The engine knows the room a moment earlier. Who joins then has no inviter, from whom to take
        the keys of earlier messages.
        """
        async with asyncio.timeout(patience):
            while True:
                there = self.client.get_room(room)
                if there is not None and (await there.room_info()).inviter is not None:
                    break
                await asyncio.sleep(0.02)
        await there.join()
        return {}

    async def do_set_up_recovery(self) -> Shown:
        """Back the keys up; return what opens the backup."""
        listener = Listener(self._loop, lambda _: None)
        encryption = self.client.encryption()
        return {"key": await encryption.enable_recovery(True, None, listener)}

    async def do_recover(self, key: str) -> Shown:
        """Enter the recovery key on a new phone."""
        await self.client.encryption().recover(key)
        return {}


def gallery_item(path: str, mime: str) -> Any:
    info = image_info(mime, Path(path).stat().st_size)
    return sdk.GalleryItemInfo.IMAGE(info, sdk.UploadSource.FILE(path), None, None, None)


def image_info(mime: str, size: int) -> Any:
    return sdk.ImageInfo(
        height=8,
        width=8,
        mimetype=mime,
        size=size,
        thumbnail_info=None,
        thumbnail_source=None,
        blurhash=BLURHASH,
        is_animated=None,
    )


# --- what is on the screen ------------------------------------------------------------------------


def variant(value: Any) -> str:
    """Return the name of a union's case."""
    return type(value).__qualname__.rpartition(".")[2].lower()


def show(event: Any) -> Shown:
    """Return an item of the timeline as Element X shows it."""
    shields: Shown = {}
    for strict in (False, True):
        shield = event.lazy_provider.get_shields(strict)
        name = variant(shield)
        shields["strict" if strict else "shield"] = (
            "" if name == "none" else f"{name} {shield.code.name}"
        )
    identity = event.event_or_transaction_id
    ids = {"event": getattr(identity, "event_id", ""), "local": not event.is_remote}
    receipts = sorted(event.read_receipts)
    state = "" if event.local_send_state is None else variant(event.local_send_state)
    more = {"sender": event.sender, "own": event.is_own, "sent": state, "read_by": receipts}
    called = getattr(event.sender_profile, "display_name", None)
    return ids | more | shields | {"name": called} | show_content(event.content)


def outline(item: Shown) -> str:
    """Return an item in a few words, for the report of a test that has failed."""
    names = ("event", "sender", "kind", "text", "sent", "shield", "edited", "read_by")
    return " ".join(f"{name}={item[name]}" for name in names if item.get(name))


def show_content(content: Any) -> Shown:
    """Return the kind of an item, and what it consists of."""
    kind = variant(content)
    if kind == "room_membership":
        change = content.change.name.lower() if content.change is not None else ""
        return {"kind": "member", "user": content.user_id, "change": change}
    if kind == "state":
        state = variant(content.content)
        return {"kind": "state", "state": getattr(content.content, "event_type", state)}
    if kind != "msg_like":
        return {"kind": kind, **{k: str(v) for k, v in vars(content).items()}}
    like = content.content
    shown: Shown = show_like(like.kind)
    shown["reactions"] = {one.key: [who.sender_id for who in one.senders] for one in like.reactions}
    if like.in_reply_to is not None:
        shown["reply_to"] = like.in_reply_to.event_id()
        quoted = like.in_reply_to.event()
        shown["quoted"] = variant(quoted)
        if variant(quoted) == "ready":
            shown["quoted"] = show_content(quoted.content).get("text", "")
    if like.thread_root:
        shown["thread_root"] = like.thread_root
    if like.thread_summary is not None:
        shown["replies"] = like.thread_summary.num_replies()
    return shown


def show_like(kind: Any) -> Shown:
    name = variant(kind)
    if name == "message":
        return show_message(kind.content)
    if name == "poll":
        return {
            "kind": "poll",
            "text": kind.question,
            "answers": {one.id: one.text for one in kind.answers},
            "votes": kind.votes,
            "most": kind.max_selections,
            "disclosed": kind.kind.name == "DISCLOSED",
            "ended": kind.end_time is not None,
            "edited": kind.has_been_edited,
        }
    if name == "unable_to_decrypt":
        cause = getattr(kind.msg, "cause", None)
        return {"kind": name, "cause": cause.name if cause is not None else ""}
    if name == "sticker":
        return {"kind": name, "text": kind.body, "source": kind.source.to_json()}
    if name == "other":
        return {"kind": "unsupported", "type": str(kind.event_type)}
    if name == "live_location":
        places = [one.geo_uri for one in kind.content.locations]
        return {"kind": name, "live": kind.content.is_live, "places": places}
    return {"kind": name}


def show_message(message: Any) -> Shown:
    part = message.msg_type
    content = getattr(part, "content", None)
    shown: Shown = {"kind": variant(part), "text": message.body, "edited": message.is_edited}
    if message.mentions is not None:
        shown["mentions"] = list(message.mentions.user_ids)
    if content is None:
        return shown | {"msgtype": part.msgtype}
    formatted = getattr(content, "formatted", None) or getattr(content, "formatted_caption", None)
    if formatted is not None:
        shown["html"] = formatted.body
    for name in ("filename", "caption", "geo_uri", "description"):
        if getattr(content, name, None) is not None:
            shown[name] = getattr(content, name)
    if getattr(content, "source", None) is not None:
        shown["source"] = content.source.to_json()
        info = content.info
        for name in ("mimetype", "size", "width", "height"):
            if getattr(info, name, None) is not None:
                shown[name] = getattr(info, name)
        if getattr(info, "duration", None) is not None:
            shown["seconds"] = info.duration.total_seconds()
    if getattr(content, "voice", None) is not None:
        shown["kind"] = "voice"
    if getattr(content, "items", None) is not None:
        shown["pictures"] = len(content.items)
    return shown


# --- the process ----------------------------------------------------------------------------------


async def main(options: Shown) -> None:
    loop = asyncio.get_running_loop()
    sdk.uniffi_set_event_loop(loop)
    sdk.init_platform(
        sdk.TracingConfiguration(
            log_level=getattr(sdk.LogLevel, options.get("log", "WARN")),
            trace_log_packs=[],
            extra_targets=[],
            write_to_stdout_or_system=False,
            write_to_files=sdk.TracingFileConfiguration(
                path=options["folder"],
                file_prefix="engine",
                file_suffix=None,
                max_total_size_bytes=None,
                max_age_seconds=None,
            ),
            sentry_config=None,
        ),
        False,
    )
    client = Client(loop, options)
    await client.start()
    answer({"ready": True})
    lines = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        try:
            answer(await getattr(client, f"do_{command.pop('op')}")(**command))
        except Exception:  # noqa: BLE001 - whatever it is, the test is told
            answer({"error": traceback.format_exc()})


def answer(value: Shown) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
