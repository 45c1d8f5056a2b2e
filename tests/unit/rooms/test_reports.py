"""`audit` and `stats`: lists, figures, and the chart."""

from __future__ import annotations

import io
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from PIL import Image

from bridge.conversation.model import Idle
from bridge.ids import QueueId
from bridge.matrix.render import MAX_BODY
from bridge.media.formats import DARK, GROUND, HEIGHT, LIGHT, WIDTH, stacked_bars
from bridge.rooms.aside import MOST_CHANGES, MOST_CHATS, figures_of
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Chat, Ending, Order, RoomSettings, dump_chat, dump_record
from bridge.rooms.rules import BY_COMMAND, LONGEST_SENTENCE
from bridge.rooms.store import Change, ChatRow, StoredRoom
from bridge.texts import LANGUAGES, Texts
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.unit.rooms.visits import ADA

DAY = 86_400_000
NOW = 1_733_011_200_000  # 2024-12-01 00:00 UTC


def chat(number: int, ago: float, waited: float | None = None, **more: object) -> Chat:
    """A chat requested `ago` days ago that waited `waited` seconds (None: no agent came)."""
    asked = NOW - round(ago * DAY)
    made = Chat(number, QueueId(1), asked, ended=asked + 3_600_000, ending=Ending.NOBODY)
    if waited is not None:
        made = replace(made, started=asked + round(waited * 1000), ending=Ending.AGENT)
    return replace(made, **more)


# --- counting -------------------------------------------------------------------------------------


def test_chats_are_counted_by_how_they_went() -> None:
    chats = [
        chat(1, 0.5, 10, rating=5),
        chat(2, 0.5, 30, rating=5),
        chat(3, 1.5, 20, rating=1),
        chat(4, 1.5),
        chat(5, 2.5, None, ending=Ending.CANCELLED),
        chat(6, 2.5, 40, ending=Ending.CANCELLED),  # left as the agent came
        chat(7, 0.1, None, ended=None, ending=None),  # still waits
        chat(8, 0.1, 1, robot=True),
        chat(9, 30, 5),
    ]
    found = figures_of(chats, NOW, 7, UTC)
    assert (found.asked, found.answered, found.left, found.nobody) == (8, 4, 2, 1)
    assert found.waiting == 1, "they add up"
    assert found.waits == [10, 20, 30], "a robot lets nobody wait"
    assert dict(found.ratings) == {5: 2, 1: 1}
    assert (found.quantile(0.5), found.quantile(0.9)) == (20, 30)
    assert len(found.days) == 7
    newest = [(day.answered, day.in_vain) for day in found.days[-4:]]
    assert newest == [(0, 2), (1, 1), (3, 0), (0, 0)]


def test_days_are_counted_in_the_rooms_time_zone() -> None:
    late = [chat(1, 1 / 24, 5)]  # 23:00 UTC, 07:00 the next day in Shanghai
    assert figures_of(late, NOW, 1, UTC).asked == 0
    assert figures_of(late, NOW, 1, ZoneInfo("Asia/Shanghai")).asked == 1


@pytest.mark.parametrize(("count", "half", "most"), [(1, 1, 1), (2, 1, 2), (10, 5, 9), (11, 6, 10)])
def test_quantiles_are_actual_waits(count: int, half: int, most: int) -> None:
    found = figures_of([chat(n, 0.5, n) for n in range(count, 0, -1)], NOW, 7, UTC)
    assert (found.quantile(0.5), found.quantile(0.9)) == (half, most)


# --- the chart ------------------------------------------------------------------------------------


def test_the_chart_shows_parts_of_days() -> None:
    image = Image.open(io.BytesIO(stacked_bars([("11-30", 3, 1), ("12-01", 0, 0)])))
    assert image.size == (WIDTH, HEIGHT)
    colours = {count[1]: count[0] for count in image.convert("RGB").getcolors(1 << 20) or []}

    def rgb(name: str) -> tuple[int, ...]:
        return tuple(bytes.fromhex(name[1:]))

    dark, light = colours[rgb(DARK)], colours[rgb(LIGHT)]
    assert dark / light == pytest.approx(3, rel=0.05)
    assert colours[rgb(GROUND)] > dark


@pytest.mark.parametrize("bars", [[("a", 0, 0)], [(f"{n}", n, 1) for n in range(90)]])
def test_a_chart_of_no_chats_and_of_many_days(bars: list[tuple[str, int, int]]) -> None:
    assert len(stacked_bars(bars)) < 20_000


# --- in a room ------------------------------------------------------------------------------------


async def prepared(*chats: Chat) -> World:
    world = World()
    world.speak(Texts())
    world.matrix.level = 50
    await world.record(ROOM, Idle())
    stored = (await world.store.load(ROOM)).room
    assert stored is not None
    record = replace(await world.stored(), settings=RoomSettings(language="en"))
    rows = [ChatRow(one.number, dump_chat(one)) for one in chats]
    room = StoredRoom(ROOM, dump_record(record), False, "Idle", None, ADA, stored.revision)
    await flow.step(world.writing, room, chats=rows)
    return world


async def asked(world: World, text: str) -> str:
    async with world.running() as engine:
        if text.startswith("!wc"):
            await engine.accept_events([world.event(text=text)])
        else:
            await engine.order(ROOM, Order("operator", "api", text))
        await quiet()
        await world.clock.turn(10)
        await quiet()
    assert await world.nothing_left()
    return world.matrix.texts(ROOM)[-1]


@pytest.mark.asyncio
async def test_figures_as_text_and_as_a_chart() -> None:
    world = await prepared(chat(1, 0.5, 10, rating=5), chat(2, 0.5, 80, rating=5), chat(3, 1.5))
    told = await asked(world, "!wc stats")
    assert told.splitlines() == [
        "📊 The last 7 days:",
        "chats 3: with an agent 2, left the queue 0, nobody came 1, still waiting 0",
        "waits: half of them up to 10 seconds, nine in ten up to 1 minute",
        "ratings: 5 — Very satisfied × 2",
    ]
    (picture,) = world.matrix.sent_files
    assert (picture.name, picture.mime) == ("stats.png", "image/png")
    legend = "(chats a day: dark, with an agent; light, without)"
    assert picture.caption == legend, "the figures are said once"
    assert Image.open(io.BytesIO(picture.data)).format == "PNG"


@pytest.mark.asyncio
async def test_without_chats_there_is_nothing_to_draw() -> None:
    world = await prepared(chat(1, 30, 5))
    assert await asked(world, "!wc stats 3") == "No chats in the last 3 days."
    await world.clock.turn(60)
    assert await asked(world, "!wc stats 1") == "No chats today."
    assert world.matrix.sent_files == []


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", [Refused("M_TOO_LARGE"), Unavailable("away")])
async def test_the_figures_are_told_even_if_the_chart_is_refused(trouble: Exception) -> None:
    world = await prepared(chat(1, 0.5, 10))
    world.matrix.trouble.extend([trouble])
    told = await asked(world, "stats")  # an order needs no power level
    assert told.startswith("📊 The last 7 days:")
    pictures = [one for one in world.matrix.posted if one.text == "stats.png"]
    assert len(pictures) == isinstance(trouble, Unavailable)


@pytest.mark.asyncio
async def test_the_number_of_chats_read_is_limited() -> None:
    chats = [chat(number, 0.5, 1) for number in range(1, MOST_CHATS + 2)]
    told = await asked(await prepared(*chats), "!wc stats")
    assert f"chats {MOST_CHATS}:" in told
    assert f"(of the newest {MOST_CHATS} chats)" in told


@pytest.mark.asyncio
async def test_audit_lists_the_newest_changes_of_the_room() -> None:
    world = await prepared()
    assert await asked(world, "!wc audit") == "Nothing has been changed here yet."
    made = [
        Change(NOW + number, "operator", "api", "queue", "", f"{number}", ROOM)
        for number in range(12)
    ]
    made += [Change(NOW + 12, "operator", "cli", "start", room_id=ROOM)]
    made += [Change(NOW + 13, ADA, "widget", key, "", "x", ROOM) for key in ("hours", "from")]
    for one in (*made, Change(NOW, "x", "cli", "erase")):
        await world.store.record_change(one)
    head, *lines = (await asked(world, "!wc audit")).splitlines()
    assert head == "Who changed what here, the latest first:"
    assert len(lines) == 10
    at = "1 Dec 2024, 00:00 UTC"
    assert lines[0] == f"{at} · {ADA} · room page · from: – → x; hours: – → x", "one save, one line"
    assert lines[1] == f"{at} · operator · command line · start"
    assert lines[2] == f"{at} · operator · API · queue: – → 11"
    assert len((await asked(world, "!wc audit 2")).splitlines()) == 3


@pytest.mark.asyncio
async def test_the_audit_names_settings_and_values_in_the_language_of_the_room() -> None:
    world = await prepared()
    await asked(world, "!wc lang ja")
    made = [("queue", "1", "2"), ("start", "", "on_message"), ("paused", "true", "")]
    made += [("from", "", "PC"), ("hours", "", "平日 9:00～18:00 日本時間"), ("start", "", "sales")]
    for at, (key, *ends) in enumerate((*made, ("text.ended", "a", "b"))):
        row = Change(NOW + 1 + at, ADA, "command", key, ends[0], ends[1], ROOM)
        await world.store.record_change(row)
    lines = (await asked(world, "!wc audit 7")).splitlines()[1:]
    assert [line.rpartition(" · ")[2] for line in reversed(lines)] == [
        "窓口：Sales → Returns",
        "開始方法：– → メッセージ",
        "一時停止：はい → –",
        "接続元：– → PC",
        "営業時間：– → 平日 9:00～18:00 日本時間",
        "start sales",
        "text.ended：a → b",
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("zh-CN", "来源：– → PC；暂停：– → 是"),
        ("zh-TW", "來源：– → PC；暫停：– → 是"),
        ("ja", "接続元：– → PC；一時停止：– → はい"),
        ("en", "from: – → PC; paused: – → yes"),
    ],
)
async def test_changes_made_at_once_are_joined_as_the_language_does(
    language: str, line: str
) -> None:
    world = await prepared()
    await asked(world, f"!wc lang {language}")
    for key, value in (("paused", "true"), ("from", "PC")):
        await world.store.record_change(Change(NOW + 1, ADA, "widget", key, "", value, ROOM))
    assert (await asked(world, "!wc audit 1")).endswith(f" · {line}")


@pytest.mark.asyncio
async def test_changes_made_at_once_are_listed_together_and_the_list_fits_an_event() -> None:
    world, keys = await prepared(), [*BY_COMMAND, *(f"text.ended.{one}" for one in LANGUAGES)]
    long = "请" * LONGEST_SENTENCE
    for save in range(MOST_CHANGES):
        at, value = NOW + save, f"{save}"
        for key in keys:
            change = Change(at, ADA, "widget", key, long, value + long, ROOM)
            await world.store.record_change(change)
    line = (await asked(world, "!wc audit 1")).splitlines()[1]
    assert [one for one in keys if f"{one}: " not in line] == []
    head, *lines = (await asked(world, f"!wc audit {MOST_CHANGES}")).splitlines()
    assert len("\n".join((head, *lines)).encode()) <= MAX_BODY
    assert len(lines) >= 3
    assert all(line.count("→") == len(keys) for line in lines)
