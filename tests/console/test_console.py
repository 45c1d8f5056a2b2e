"""The console in a real browser, on a real bridge."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from bridge.rooms.record import Order, dump_input
from bridge.rooms.store import Lane, Outcome
from bridge.rooms.surroundings import SystemClock
from bridge.storage import sqlstore
from tests.console.conftest import IMAGES, Console, faults, simplified
from tests.support import strict
from tests.support.talk import Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABS = ("live", "waits", "links", "deliveries", "dead", "changes", "health", "erase")
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = """[...document.querySelectorAll("button, td.whole")]
  .filter((one) => one.getClientRects().length && one.innerText && one.offsetHeight > 40)
  .map((one) => one.innerText)"""
"""Buttons and cells whose words take more than one line."""
CUT = """[...document.querySelectorAll("input[placeholder]")].filter((one) => {
  const [typed, _] = [one.value, one.value = one.placeholder];
  const cut = one.scrollWidth > one.clientWidth;
  one.value = typed;
  return cut;
}).map((one) => one.placeholder)"""
"""Hints in fields that are too narrow for them."""


async def test_the_picture_in_the_documentation(console: Console, tmp_path: Path) -> None:
    """Replaced if CONSOLE_PICTURES is set. Must be the first test, before there are other rooms."""
    stage, page = console.stage, await console.signed_in(width=1180, height=760)
    talks = []
    for name, words in (("Bo Lin", "hello"), ("周敏", "你好"), ("Ada Wong", "good morning")):
        customer = await stage.customer(f"p{abs(hash(name)) % 9999}")
        path = f"v3/profile/{customer.user_id}/displayname"
        await customer.call("PUT", path, {"displayname": name})
        talk = await Talk.open(stage, customer, words)
        talks.append(talk)
        await talk.queued()
        if name == "Bo Lin":
            await talk.accept()
    await expect(page.locator('[data-phase="Queued"] .card')).to_have_count(2)
    shot = tmp_path / "console.png"
    await page.screenshot(path=shot, animations="disabled")
    if os.environ.get("CONSOLE_PICTURES"):
        shutil.copy(shot, IMAGES / "console.png")
    assert (IMAGES / "console.png").exists()
    for talk in talks:
        await talk.say("!wc cancel")
        await talk.say("!wc close")
    await expect(page.locator(".cards")).to_have_count(0)


async def test_a_link_signs_in_once(console: Console) -> None:
    stranger = await console.window()
    await stranger.goto(f"{console.url}/admin/")
    await expect(stranger.locator("main")).to_contain_text("matrix-webchat console-link")
    link = await console.link("--name", "mei")
    page = await console.window()
    await page.goto(link)
    await expect(page.locator("#me")).to_have_text("signed in as mei")
    assert "sign-in" not in page.url
    (cookie,) = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/admin")
    assert await page.evaluate("document.cookie") == ""
    await page.reload()
    await expect(page.locator("#me")).to_have_text("signed in as mei")

    await stranger.goto(link)
    await expect(stranger.get_by_role("alert").first).to_contain_text("used already")

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("main")).to_contain_text("You are signed out.")
    await page.reload()
    await expect(page.locator("main")).to_contain_text("matrix-webchat console-link")


async def test_chats_move_between_lists_as_their_phase_changes(console: Console) -> None:
    page = await console.signed_in()
    talk = await Talk.open(console.stage, await console.stage.customer("mover"), "hello")
    queued = page.locator(f'[data-phase="Queued"] [data-room="{talk.room}"]')
    chatting_now = page.locator(f'[data-phase="Chatting"] [data-room="{talk.room}"]')
    await expect(queued).to_contain_text("mover")
    await expect(queued).to_contain_text("Sales · place 1")
    await expect(page.locator("tbody tr", has_text="Sales").locator("td").nth(3)).to_have_text("1")
    await talk.accept()
    await expect(chatting_now).to_contain_text("with Mei")
    await expect(queued).to_have_count(0)
    await page.get_by_label("Show").select_option(label="Service")
    await expect(chatting_now).to_have_count(0)
    await page.get_by_label("Show").select_option(label="All queues")
    await expect(chatting_now).to_have_count(1)

    await page.get_by_role("link", name="Links").click()
    row = page.locator("tbody tr", has_text=talk.room)
    await expect(row).to_contain_text("up")
    await row.get_by_role("link").click()
    await expect(page.locator("main")).to_contain_text("@mover:localhost")
    await page.get_by_label("Give a command").fill("close")
    await page.get_by_role("button", name="Give").click()
    await talk.reads("ended")
    await expect(page.locator("main")).to_contain_text("by the customer")
    await page.get_by_role("link", name="Changes").click()
    change = page.locator("tbody tr", has_text="close").first
    await expect(change).to_contain_text("mei")
    await expect(change).to_contain_text("console")
    await page.get_by_role("link", name="Waiting times").click()
    await expect(page.get_by_role("img", name="Median wait by queue")).to_contain_text("Sales")
    await expect(page.locator("circle").first).to_be_visible()


async def test_who_waits_is_shown_beside_hundreds_of_chats(console: Console) -> None:
    page = await console.signed_in()
    talk = await chatting(console.stage, "copied")
    last = await Talk.open(console.stage, await console.stage.customer("last"), "hello")
    waits = page.locator(f'[data-phase="Queued"] [data-room="{last.room}"]')
    await expect(waits).to_have_count(1)
    await page.get_by_role("link", name="Health").click()  # a new page, without the card
    many = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700) "
        "INSERT INTO rooms (room_id, record, live, phase, customer) "
        "SELECT '!!' || i, record, live, phase, customer FROM n, rooms WHERE room_id = ?"
    )
    with closing(sqlite3.connect(console.stage.folder / "bridge.db")) as file:
        file.execute(many, [talk.room])
        file.commit()
        try:
            await page.get_by_role("link", name="Live", exact=True).click()
            await expect(page.locator('[data-phase="Chatting"] .count')).to_have_text("200+")
            await expect(waits).to_have_count(1)
        finally:
            file.execute("DELETE FROM rooms WHERE room_id LIKE '!!%'")
            file.commit()
    await last.say("!wc cancel")
    await talk.say("!wc close")


async def test_a_wrong_command_is_refused_with_a_sentence(console: Console) -> None:
    page = await console.signed_in()
    talk = await chatting(console.stage, "wrong")
    await page.goto(f"{console.url}/admin/#/room/{talk.room}")
    await page.get_by_label("Give a command").fill("queue set 77")
    await page.get_by_role("button", name="Give").click()
    await expect(page.locator("#toasts")).to_contain_text("77")
    assert await page.get_by_label("Give a command").input_value() == "queue set 77"


async def test_a_command_whose_answer_is_lost_is_stored_once(console: Console) -> None:
    page = await console.signed_in()
    talk = await chatting(console.stage, "unheard")
    await page.goto(f"{console.url}/admin/#/room/{talk.room}")

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route("**/orders", lose, times=1)
    toasts = page.locator("#toasts")
    for told, given in (("does not answer", 1), ("on its way", 1), ("on its way", 2)):
        await page.get_by_label("Give a command").fill("status")
        await page.get_by_role("button", name="Give").click()
        await expect(toasts).to_contain_text(told)
        assert orders(console.stage.folder / "bridge.db", talk.room) == given
        await toasts.evaluate("node => node.replaceChildren()")


def orders(database: Path, room: str) -> int:
    """Return the number of orders stored for a room."""
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        wanted = "SELECT count(*) FROM journal WHERE room_id = ? AND key LIKE 'order:%'"
        ((count,),) = connection.execute(wanted, (room,))
    return int(count)


async def test_deliveries_are_looked_up_by_event(console: Console) -> None:
    page = await console.signed_in()
    talk = await chatting(console.stage, "traced")
    event = await talk.say("where is it?")
    await talk.heard("where is it?")
    await page.get_by_role("link", name="Deliveries").click()
    await page.get_by_label("Event or room").fill(event)
    await page.get_by_role("button", name="Look up").click()
    for what in ("received", "attempted", "delivered"):
        await expect(page.locator("tbody")).to_contain_text(what)
    await page.get_by_label("Event or room").fill("$nothing")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text("Nothing found")


async def test_the_ledger_is_read_in_chinese(console: Console) -> None:
    page = await console.signed_in(language="zh-CN")
    talk = await chatting(console.stage, "traced-in-chinese")
    event = await talk.say("哪里？")
    await talk.heard("哪里？")
    await page.goto(f"{console.url}/admin/#/deliveries/{event}")
    for what in ("收到", "开始投递", "已投递", "往呼叫中心"):
        await expect(page.locator("tbody")).to_contain_text(what)
    words = "import('./words.js').then(({ said }) => told.map(said))"
    told = [*Outcome, *Lane, "received", "handled", "stored", "revived", "webchat, 2x"]
    answers = await page.evaluate(f"(told) => {words}", [str(one) for one in told])
    assert [one for one in answers if one.isascii()] == []
    assert answers[-1] == "往呼叫中心，2 次"


@pytest.mark.parametrize(
    ("language", "note"),
    [
        ("en", "as we please: These hours cannot be read"),
        ("zh-CN", "as we please：无法理解这里的营业时间"),
        ("zh-TW", "as we please：這裡的營業時間無法解讀"),
    ],
)
async def test_hours_of_a_room_that_do_not_count_say_so(
    console: Console, language: str, note: str
) -> None:
    """With a stubbed API: the bridge stores only hours that it can read."""
    page = await console.signed_in(language=language)
    talk = await chatting(console.stage, f"unclear-{language.casefold()}")
    hours: dict[str, object] = {"hours": "as we please", "hours_unclear": True}

    async def room(route: Route) -> None:
        answer = await (await route.fetch()).json()
        answer["settings"] |= hours
        await route.fulfill(json=answer)

    await page.route(re.compile(r"/rooms/[^/]+$"), room)
    await page.goto(f"{console.url}/admin/#/room/{talk.room}")
    await expect(page.get_by_text(note)).to_be_visible()
    hours |= {"hours": "daily 00:00-24:00 UTC", "hours_unclear": False}
    await page.reload()
    await expect(page.get_by_text("daily 00:00-24:00 UTC")).to_be_visible()
    await expect(page.get_by_text(note)).to_be_hidden()


async def test_deliveries_of_a_room_are_found_however_old(console: Console) -> None:
    """Other rooms have had many more since; an answer covers only the newest ones of all."""
    page = await console.signed_in()
    talk = await chatting(console.stage, "long-ago")
    await talk.say("said long ago")
    await talk.heard("said long ago")
    await talk.desk("close")
    await talk.reads("ended the chat")
    now, others = SystemClock().now(), 2 * sqlstore.STRETCH * sqlstore.STRETCHES
    with closing(sqlite3.connect(console.stage.folder / "bridge.db", timeout=10)) as connection:
        connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT ?1)"
            " INSERT INTO journal (room_id, received, handled, outcome, settled)"
            " SELECT '!other:localhost', ?2, ?2, 'handled', ?2 FROM numbers",
            (others, now),
        )
        connection.commit()
    await page.goto(f"{console.url}/admin/#/room/{talk.room}")
    box = page.get_by_role("region", name="Deliveries")
    await expect(box).to_contain_text("Nothing among the newest entries of all rooms.")
    await box.get_by_role("button", name="Look further back").click()
    await expect(box.locator("tbody")).to_contain_text("delivered")


def dead_order(database: Path, room: str, words: str) -> str:
    """Store a dead letter as left by a bug fixed since: a valid order; returns its id."""
    body, now = dump_input(Order("mei", "console", words)), SystemClock().now()
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        added = connection.execute(
            "INSERT INTO journal (room_id, key, body, received, outcome, settled, detail)"
            " VALUES (?, ?, ?, ?, 'dead', ?, 'ValueError')",
            (room, f"order:{now + len(words):016x}", body, now, now),
        )
        return f"i{added.lastrowid}"


async def test_dead_letters_are_retried_and_discarded(console: Console) -> None:
    page = await console.signed_in()
    talk = await chatting(console.stage, "unlucky")
    database = console.stage.folder / "bridge.db"
    again = dead_order(database, talk.room, "status")
    lost = dead_order(database, talk.room, "version")
    await page.get_by_role("link", name="Dead letters").click()
    row = page.locator("tbody tr", has_text=again)
    await expect(row).to_contain_text("ValueError")
    await row.get_by_role("button", name="Content").click()
    await expect(page.get_by_role("dialog")).to_contain_text('"status"')
    await page.keyboard.press("Escape")
    await row.get_by_role("button", name="Retry").click()
    await expect(page.locator("#toasts")).to_contain_text(f"{again} will be retried")
    await talk.reads("Chatting with Mei")
    await expect(row).to_have_count(0)
    row = page.locator("tbody tr", has_text=lost)
    await row.get_by_role("button", name="Discard").press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Discard").press("Enter")
    await expect(page.locator("main")).to_contain_text("No dead letters.")
    # The focused button is gone; the focus moves to the page's main part.
    await expect(page.locator("main")).to_be_focused()
    await page.get_by_role("link", name="Changes").click()
    await expect(page.locator("tbody")).to_contain_text("dead-letters discard")


@pytest.mark.parametrize(
    ("scheme", "language", "title"),
    [("light", "zh-CN", "WebChat 控制台"), ("dark", "zh-TW", "WebChat 主控台")],
)
async def test_the_console_on_a_phone_in_both_languages(
    console: Console, scheme: str, language: str, title: str
) -> None:
    talk = await chatting(console.stage, f"narrow_{scheme}")
    letter = dead_order(console.stage.folder / "bridge.db", talk.room, "status")
    page = await console.signed_in(language=language, width=360, height=740, scheme=scheme)
    await expect(page.locator("h1")).to_have_text(title)
    assert await page.evaluate("document.documentElement.lang") == language
    for chinese in (True, False):
        for tab in (*TABS, f"room/{talk.room}"):
            await page.goto(f"{console.url}/admin/#/{tab}")
            await page.locator("#main[data-drawn]").wait_for()
            for name in (f"@{'m' * 99}:example.org", talk.room) if tab == "erase" else ():
                await page.locator("main input").first.fill(name)
                await page.locator("main input").first.press("Enter")
                await expect(page.get_by_role("status").last).to_contain_text(name)
                assert await page.evaluate(TOO_WIDE) <= 0, name
            if tab == "dead":
                await page.locator("tbody tr", has_text=letter).get_by_role("button").nth(1).click()
                await page.get_by_role("dialog").wait_for()
                assert await faults(page) == []
                await page.keyboard.press("Escape")
            assert await page.evaluate(TOO_WIDE) <= 0, tab
            assert await page.evaluate(BROKEN) == [], tab
            assert await page.evaluate(CUT) == [], tab
            if tab in TABS:
                await expect(page.locator(".tabs [aria-current]")).to_be_in_viewport(ratio=0.9)
            assert await faults(page) == [], tab
            text = await page.locator("main").inner_text()
            assert bool(re.search("[一-鿿]", text)) is chinese, text
            assert language == "zh-CN" or not simplified(text), text
            await expect(page.locator("td:visible", has_text=re.compile("^—$"))).to_have_count(0)
        await page.goto(f"{console.url}/admin/#/room/nobody")
        await expect(page.locator("#fresh:not([data-up])")).to_be_visible()
        assert await page.evaluate(TOO_WIDE) <= 0, "no answer"
        if chinese:
            await page.get_by_role("button", name="English").click()
            await expect(page.locator("h1")).to_have_text("WebChat console")
    await page.goto(f"{console.url}/admin/#/dead")
    await page.locator("tbody tr", has_text=letter).get_by_role("button", name="Discard").click()
    await page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_text("You are signed out.").wait_for()
    assert await faults(page) == []
    console.session = None


async def test_all_languages_have_the_same_text_keys(console: Console) -> None:
    page = await console.signed_in()
    for table in await page.evaluate("import('./words.js').then(({ TABLES }) => TABLES)"):
        keys = {language: sorted(texts) for language, texts in table.items()}
        assert keys["zh-TW"] == keys["zh-CN"] == keys.get("en", keys["zh-CN"])
        assert not simplified("".join(table["zh-TW"].values()))


async def test_a_refusal_is_in_the_language_of_the_page(console: Console) -> None:
    page = await console.signed_in()
    await page.get_by_role("button", name="中文").click()
    toasts, main = page.locator("#toasts"), page.locator("main")
    for subject, told in (("mei", "mei 既不是房间"), (console.stage.bot, "是网桥自己的用户")):
        await page.goto(f"{console.url}/admin/#/erase/{subject}")
        await page.get_by_role("button", name="查询").click()
        await expect(toasts).to_contain_text(told)
    await page.route("**/admin/api/*", lambda route: route.abort())
    await page.get_by_role("button", name="查询").click()
    await expect(toasts).to_contain_text("网桥没有响应")
    await expect(main).to_be_visible()
    await page.unroute("**/admin/api/*")
    await page.get_by_role("button", name="English").click()


async def test_links_of_several_processes(console: Console) -> None:
    """With a stubbed API, as there is only one process here."""
    counts = {"opening": 0, "waiting": 0}
    reports = [
        {"replica": "a", "seconds": 0, "up": 1, **counts},
        {"replica": "b", "seconds": 1.3, "up": 250, **counts},
    ]
    link = {"room_id": "!x:y", "replica": "b", "state": "up", "since": 1, "why": ""}
    page = await console.signed_in()
    answer = {"reports": reports, "links": [link], "next": None}
    await page.route("**/admin/api/links*", lambda route: route.fulfill(json=answer))
    await page.get_by_role("link", name="Links").click()
    told = page.get_by_role("table", name="Processes").get_by_role("row")
    await expect(told.nth(1)).to_contain_text(re.compile("a *now *1"))
    await expect(told.nth(2)).to_contain_text(re.compile("b *1 s ago *250"))
    await expect(page.get_by_role("row", name="!x:y")).to_contain_text(re.compile("b *up"))


async def test_health_page_without_a_database(console: Console) -> None:
    """With a stubbed API; what only the database knows is not shown as nothing."""
    page = await console.signed_in()
    away = {"errcode": "M_UNKNOWN", "error": "The database did not answer; try again in a moment."}
    for path in ("replicas", "dead-letters*"):
        await page.route(f"**/admin/api/{path}", lambda route: route.fulfill(status=503, json=away))
    await page.get_by_role("link", name="Health").click()
    await expect(page.get_by_role("region", name="Health").locator("dd").last).to_have_text("—")
    processes = page.get_by_role("region", name="Processes")
    await expect(processes).to_contain_text("—")
    await expect(processes).not_to_contain_text("the only one")


async def test_each_of_several_call_centres_is_named(console: Console) -> None:
    """With a stubbed API, as there is only one here."""
    link = {"room_id": "!x:y", "enterprise": "best", "replica": "", "state": "up", "since": 1}
    letter = {"id": "i1", "room_id": "!x:y", "enterprise": "best", "at": 1, "why": "?", "fix": ""}
    change = {"number": 9, "at": 1, "enterprise": "best", "room_id": "!x:y", "actor": "mei"}
    change |= {"way": "cli", "key": "queue", "before": "1", "after": "2"}
    stubs: dict[str, dict[str, object]] = {
        "links": {"reports": [], "links": [link | {"why": ""}], "next": None},
        "dead-letters": {"dead_letters": [letter], "next": None},
        "changes": {"changes": [change], "next": None},
        "health": {"ready": True, "missing": {}, "away": {"webchat best": "no answer in time"}},
    }
    page = await console.signed_in()
    for path, stub in stubs.items():
        await page.route(f"**/admin/api/{path}*", partial(Route.fulfill, json=stub))
    for name in ("Links", "Dead letters", "Changes"):
        await page.get_by_role("link", name=name).click()
        table = page.get_by_role("table", name=name)
        await expect(table.get_by_role("columnheader", name="Call centre")).to_be_visible()
        await expect(table.get_by_role("row", name="!x:y")).to_contain_text("best")
    await page.get_by_role("link", name="Health").click()
    health = page.get_by_role("region", name="Health")
    await expect(health).to_contain_text("webchat bestno answer in time")


async def test_changes_that_are_not_shown_are_marked(console: Console) -> None:
    """With a stubbed API."""
    change = {"number": 9, "at": 1, "enterprise": "", "room_id": "", "actor": "mei", "way": "cli"}
    change |= {"key": "erase", "before": "", "after": ""}
    page = await console.signed_in()
    answer = {"changes": [change], "next": "9"}
    await page.route("**/admin/api/changes*", lambda route: route.fulfill(json=answer))
    await page.get_by_role("link", name="Changes").click()
    await expect(page.get_by_role("region", name="Changes").get_by_text("…")).to_be_visible()


async def test_changed_settings_are_named_in_the_language_of_the_page(console: Console) -> None:
    """With a stubbed API."""
    change = {"enterprise": "", "room_id": "", "actor": "mei", "way": "cli"}
    ends = [("queue", "1", "2"), ("start", "", "on_command"), ("start", "", "sales")]
    changes = [
        {**change, "number": at, "at": at, "key": key, "before": before, "after": after}
        for at, (key, before, after) in enumerate(ends)
    ]
    page = await console.signed_in()
    answer = {"changes": changes, "next": None}
    await page.route("**/admin/api/changes*", lambda route: route.fulfill(json=answer))
    await page.get_by_role("button", name="中文").click()
    await page.get_by_role("link", name="变更记录").click()
    rows = page.get_by_role("region", name="变更记录").get_by_role("listitem")
    await expect(rows).to_have_text(["队列：1 → 2", "开始方式：— → on_command", "start：— → sales"])


async def test_a_room_is_erased_once_its_name_is_typed(console: Console) -> None:
    """By keyboard alone."""
    page, talk = await console.signed_in(), await chatting(console.stage, "leaver")
    await page.goto(f"{console.url}/admin/#/room/{talk.room}")
    await page.get_by_role("link", name="Erase this room's data").press("Enter")
    await expect(page.get_by_label("Room or person")).to_have_value(talk.room)
    await page.get_by_label("Room or person").press("Enter")
    status = page.locator("main").get_by_role("status")
    await expect(status).to_contain_text("Nothing has been erased yet")
    await expect(status).to_be_focused()
    await expect(page.locator("main")).to_match_aria_snapshot("""
      - main:
        - region "Erase":
          - heading "Erase" [level=2]
          - textbox "Room or person"
          - button "Look up"
          - status
          - table "Content"
          - heading "What is kept, and where" [level=3]
          - table "What is kept, and where"
          - checkbox "End current chats"
          - checkbox "Keep serving erased rooms, as new ones"
          - checkbox "Also redact the events in the ledger on the homeserver"
          - textbox /To confirm, type !/
          - button "Erase permanently" [disabled]
    """)
    again, go = page.get_by_label("To confirm"), page.get_by_role("button", name="permanently")
    await again.fill(talk.room[:-1])
    await page.get_by_label("End current chats").press("Space")
    await expect(go).to_be_disabled()
    await again.fill(talk.room)
    await expect(go).to_be_enabled()
    await page.get_by_label("End current chats").press("Space")
    await expect(go).to_be_disabled()
    await page.get_by_label("End current chats").press("Space")
    await again.press("Enter")
    await expect(status).to_contain_text(f"{talk.room} is erased.")
    await expect(page.locator("main table").first.get_by_role("cell").last).to_have_text("0")
    path = console.stage.folder / "bridge.db"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        (left,) = connection.execute(
            "SELECT count(*) FROM rooms WHERE room_id = ?", (talk.room,)
        ).fetchone()
    assert left == 0
    await page.get_by_role("link", name="Changes").press("Enter")
    await expect(page.locator("tbody tr", has_text="erase").first).to_contain_text("mei")
    await page.goto(f"{console.url}/admin/#/erase/@nobody:example.org")
    await page.get_by_role("button", name="Look up").press("Enter")
    await expect(status).to_contain_text("The bridge has no data about @nobody:example.org")

    # A lost connection ends the progress message.
    other = await chatting(console.stage, "stayer")
    await page.goto(f"{console.url}/admin/#/erase/{other.room}")
    await page.get_by_role("button", name="Look up").press("Enter")
    await page.get_by_label("End current chats").press("Space")
    await again.fill(other.room)
    await page.route("**/api/erase", lambda route: route.abort())
    await page.route("**/api/erase", lambda route: route.continue_(), times=1)
    await again.press("Enter")
    await expect(status).to_contain_text(f"Not all data about {other.room} is erased yet")


async def test_axe_finds_a_button_without_a_name(console: Console) -> None:
    """Skipped if axe-core cannot be installed; the other tests then do not check with it."""
    await strict.install()
    page = await console.signed_in()
    await page.evaluate("""() => document.querySelector("main").append(
      document.createElement("button"))""")
    assert [one.partition(":")[0] for one in await faults(page)] == ["button-name"]


async def test_the_console_by_keyboard_alone(console: Console) -> None:
    talk = await chatting(console.stage, "tabbed")
    page = await console.signed_in()
    card = page.locator(f'[data-room="{talk.room}"]').get_by_role("link")
    await card.focus()
    # A refresh does not take the focus away.
    async with page.expect_response(lambda response: "/chats" in response.url):
        pass
    await expect(card).to_be_focused()
    await page.goto(f"{console.url}/admin/")
    await page.reload()
    await page.locator("#main[data-drawn]").wait_for()
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to content")).to_be_focused()
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Health":
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text("Ready")
    await expect(page.locator("#tabs [aria-current]")).to_have_text("Health")
    await expect(page.locator("#tabs [aria-current]")).to_be_focused()


async def test_the_console_cannot_be_framed_but_the_room_page_can(console: Console) -> None:
    page = await console.window()
    console.shown = f'<iframe src="{console.url}/admin/"></iframe>'
    async with page.expect_console_message(lambda said: "frame-ancestors 'none'" in said.text):
        await page.goto(console.client)
    assert "console-link" not in await page.frames[-1].content()
    console.complaints.clear()
    console.shown = f'<iframe src="{console.url}/room/"></iframe>'
    await page.goto(console.client)
    await expect(page.frame_locator("iframe").locator("main")).to_contain_text("!wc panel")
