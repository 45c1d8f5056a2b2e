"""The room page as a widget in a Matrix client's frame, signed in by a real Synapse's OpenID."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import FrameLocator, Page, Route, expect

from tests.console.conftest import IMAGES, Console, faults, simplified
from tests.support.client import room_call
from tests.support.matrix_user import Customer, CustomerError, Json, content_of
from tests.support.talk import Talk, into, upgraded, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDGET = "im.vector.modular.widgets"
KEY = "org.matrix_webchat.panel"
STUB = """<!doctype html><meta charset="utf-8">
<style>body { margin: 0 } iframe { border: 0 }</style>
<iframe title="widget" src="%s" width="%d" height="%d"
  sandbox="allow-forms allow-popups allow-same-origin allow-scripts allow-downloads"></iframe>
<script>
const frame = document.querySelector("iframe");
const say = (message) => frame.contentWindow.postMessage(message, "*");
addEventListener("message", async ({ source, data }) => {
  if (source !== frame.contentWindow || data.api !== "fromWidget" || data.response) return;
  if (data.action !== "get_openid") return say({ ...data, response: {} });
  // As Element does: it asks the user, and says later what they said.
  say({ ...data, response: { state: "request" } });
  const token = await openid();
  const told = { state: token ? "allowed" : "blocked", original_request_id: data.requestId };
  say({ api: "toWidget", requestId: "r1", action: "openid_credentials", widgetId: "w",
    data: { ...token, ...told } });
});
frame.addEventListener("load", () =>
  say({ api: "toWidget", requestId: "r0", action: "capabilities", widgetId: "w", data: {} }));
</script>"""


IN_ENGLISH = """
  - main:
    - region "State":
      - heading "State" [level=2]
      - paragraph: This room is served.
      - button "Pause"
    - region "Queue of this room":
      - group "Queue of this room":
        - radio /Sales.*/ [checked]
        - radio /Service.*/
    - region "Settings":
      - combobox "Language"
      - textbox /Opening hours/
    - region "Sentences of this room":
      - textbox "Greeting"
    - button "Save" [disabled]
    - region "Last changes":
      - button "Undo the last change"
"""
IN_CHINESE = """
  - main:
    - region "状态":
      - button "暂停"
    - region "本房间的队列":
      - group "本房间的队列":
        - radio /Sales.*/ [checked]
    - button "保存" [disabled]
    - region "最近的变更":
      - button "撤销上一次更改"
"""


async def a_room(console: Console, name: str, **levels: int) -> Talk:
    """Create a room as a new customer (level 100) with a friend and the bot (level 50)."""
    stage = console.stage
    maker = await stage.customer(name)
    users = {stage.bot: levels.get("bot", 50)}
    room = await maker.call(
        "POST",
        "v3/createRoom",
        {
            "preset": "private_chat",
            "invite": [stage.bot],
            "power_level_content_override": {"users": users},
        },
    )
    talk = Talk(stage, maker, str(room["room_id"]))
    await into(talk, await stage.customer(f"{name}_friend"))
    return talk


async def widget_url(talk: Talk) -> str:
    """Return the widget's URL in the room's state event, with its variables."""
    await talk.sees(lambda event: event.get("type") == WIDGET and event.get("state_key") == KEY)
    path = f"v3/rooms/{quote(talk.room, safe='')}/state/{WIDGET}/{KEY}"
    content = await talk.customer.call("GET", path)
    assert (content["type"], content["creatorUserId"]) == ("m.custom", talk.stage.bot)
    return str(content["url"])


async def openid_token(customer: Customer) -> Json:
    path = f"v3/user/{quote(customer.user_id, safe='')}/openid/request_token"
    return await customer.call("POST", path, {})


async def opened(
    console: Console,
    page: Page,
    url: str,
    talk: Talk,
    who: Customer,
    *,
    token: Json | str | None = "",
    language: str = "en",
    theme: str = "light",
) -> FrameLocator:
    """Open the widget in a client in which `who` is logged in."""
    fill = {
        "$matrix_room_id": quote(talk.room, safe=""),
        "$org.matrix.msc2873.client_language": language,
        "$org.matrix.msc2873.client_theme": theme,
    }
    for name, value in fill.items():
        url = url.replace(name, value)
    size = page.viewport_size or {"width": 0, "height": 0}
    address = f"{url}&widgetId=w&parentUrl={quote(console.client, safe='')}".replace("&", "&amp;")
    console.shown = STUB % (address, size["width"], size["height"])

    async def said() -> Json | None:
        return await openid_token(who) if token == "" else token  # type: ignore[return-value]

    await page.expose_function("openid", said)
    await page.goto(console.client)
    return page.frame_locator("iframe")


async def in_both_languages(page: Page, frame: FrameLocator) -> None:
    """Check that axe-core finds nothing in either language."""
    button, other = frame.locator("#language"), {"中文": "English", "English": "中文"}
    for _ in other:
        assert await faults(page.frames[-1]) == []
        meant = other[await button.inner_text()]
        await button.click()
        await expect(button).to_have_text(meant)


async def test_a_room_admin_reads_and_changes_settings(console: Console, tmp_path: Path) -> None:
    talk = await a_room(console, "keeper")
    page = await console.window(width=420, height=900)
    frame = await opened(console, page, await widget_url(talk), talk, talk.customer)
    service = frame.get_by_role("radio", name="Service")
    await expect(frame.get_by_role("radio", name="Sales")).to_be_checked()
    await expect(frame.get_by_text("This room is served.")).to_be_visible()
    await expect(frame.locator("main")).to_match_aria_snapshot(IN_ENGLISH)
    await expect(frame.get_by_label("Call centre")).to_be_hidden()
    if os.environ.get("CONSOLE_PICTURES"):
        await page.screenshot(path=tmp_path / "room.png", animations="disabled")
        shutil.copy(tmp_path / "room.png", IMAGES / "room-page.png")
    assert (IMAGES / "room-page.png").exists()

    await in_both_languages(page, frame)
    await service.check()
    await frame.get_by_label("Language").select_option("ja")
    # Unsaved changes are kept when the language changes.
    for words in ("保存", "Save"):
        await frame.locator("#language").click()
        await expect(frame.get_by_role("button", name=words)).to_be_enabled()
        await expect(frame.locator("[data-key=language]")).to_have_value("ja")
    await expect(service).to_be_checked()
    await frame.get_by_role("button", name="Save").press("Enter")
    await expect(frame.get_by_role("alert")).to_contain_text("Saved")
    # The focused button is disabled now; the focus moves to the page's main part.
    await expect(frame.locator("main")).to_be_focused()
    await talk.reads("Service", console.stage.bot)
    await expect(frame.locator("tbody")).to_contain_text(talk.customer.user_id)
    await expect(frame.locator("tbody")).to_contain_text("room page")
    await expect(service).to_be_checked()
    await frame.get_by_role("button", name="Pause").click()
    await expect(frame.get_by_text("This room is paused")).to_be_visible()
    # A change by command is shown on the page.
    await talk.say("!wc resume")
    await expect(frame.get_by_text("This room is served.")).to_be_visible()
    await frame.get_by_role("button", name="Undo the last change").click()
    await expect(frame.get_by_text("This room is paused")).to_be_visible()
    for _ in range(2):  # all fields of one save are undone together
        await frame.get_by_role("button", name="Undo the last change").click()
    await expect(frame.get_by_role("radio", name="Sales")).to_be_checked()
    await expect(frame.get_by_label("Language")).to_have_value("")


async def test_the_queue_of_a_request_is_not_shown_as_the_rooms(console: Console) -> None:
    talk = await a_room(console, "elsewhere")
    url = await widget_url(talk)
    await talk.say("!wc start service")
    await talk.reads("Waiting for Service", console.stage.bot)
    frame = await opened(console, await console.window(), url, talk, talk.customer)
    await expect(frame.get_by_role("radio", name="Sales")).to_be_checked()
    await frame.get_by_role("radio", name="Service").check()
    await frame.get_by_role("button", name="Save").click()
    await talk.sees(lambda event: content_of(event) == {"queue": 2})
    await expect(frame.get_by_role("radio", name="Service")).to_be_checked()


async def test_hours_that_do_not_count_say_so(console: Console) -> None:
    """With a stubbed API: the bridge stores only hours that it can read."""
    talk = await a_room(console, "unclear")
    url, page = await widget_url(talk), await console.window()
    hours: dict[str, object] = {"hours": "as we please", "hours_unclear": True}

    async def room(route: Route) -> None:
        answer = await (await route.fetch()).json()
        if "settings" in answer:
            answer["settings"] |= hours
        await route.fulfill(json=answer)

    await page.route("**/room/api/rooms/**", room)
    frame = await opened(console, page, url, talk, talk.customer)
    note = frame.get_by_text("These hours cannot be read")
    await expect(note).to_be_visible()
    await expect(frame.get_by_label("Opening hours of this room")).to_have_value("as we please")
    hours |= {"hours": "daily 00:00-24:00 UTC", "hours_unclear": False}
    await expect(note).to_be_hidden()


async def test_a_call_centre_is_chosen_without_a_queue_of_the_former(console: Console) -> None:
    """With a stubbed API, as there is only one here."""
    talk = await a_room(console, "chooser")
    url, page = await widget_url(talk), await console.window()
    wished: list[object] = []

    async def room(route: Route) -> None:
        if route.request.method != "GET":
            sent = route.request.post_data_json
            wished.append(sent and sent["settings"])
            await route.fulfill(status=202, json={"room_id": talk.room, "order": "0" * 16})
            return
        answer = await (await route.fetch()).json()
        if "enterprises" in answer:
            answer["enterprises"] = ["acme", "best"]
        await route.fulfill(json=answer)

    await page.route("**/room/api/rooms/**", room)
    frame = await opened(console, page, url, talk, talk.customer)
    await frame.get_by_role("radio", name="Service").check()
    await frame.get_by_label("Call centre").select_option("best")
    await expect(frame.get_by_role("radio", name="Service")).to_be_disabled()
    await frame.get_by_role("button", name="Save").click()
    await expect(frame.get_by_role("radio", name="Service")).to_be_enabled()
    assert wished == [{"enterprise": "best"}]


async def test_a_room_admin_sets_hours_and_texts(console: Console) -> None:
    talk = await a_room(console, "writer")
    url = await widget_url(talk)
    frame = await opened(console, await console.window(), url, talk, talk.customer)
    hours = frame.get_by_label("Opening hours of this room")
    save = frame.get_by_role("button", name="Save")
    await expect(save).to_be_disabled()
    await hours.fill("whenever we like")
    await save.click()
    await expect(frame.locator("#toasts")).to_contain_text("whenever we like")
    await expect(hours).to_have_value("whenever we like")
    await hours.fill("Mon-Fri 09:00-18:00 Asia/Shanghai")
    await frame.get_by_label("Greeting").fill("Welcome to {queue} 您好")
    await save.click()
    await expect(frame.locator("tbody")).to_contain_text("Welcome to {queue} 您好")
    await expect(save).to_be_disabled()
    # The state event has it too, as the bot may write it here.
    await talk.sees(
        lambda event: content_of(event).get("texts") == {"greeting": "Welcome to {queue} 您好"}
    )
    # A text for one language.
    await frame.get_by_label("For readers of").select_option("ja")
    await expect(frame.get_by_label("Greeting")).to_have_value("")
    await frame.get_by_label("Greeting").fill("いらっしゃいませ")
    await save.click()
    await talk.sees(
        lambda event: (
            content_of(event).get("texts")
            == {"greeting": "Welcome to {queue} 您好", "greeting.ja": "いらっしゃいませ"}
        )
    )
    frame = await opened(console, await console.window(), url, talk, talk.customer)
    await expect(frame.get_by_label("Greeting")).to_have_value("Welcome to {queue} 您好")
    await frame.get_by_label("For readers of").select_option("ja")
    await expect(frame.get_by_label("Greeting")).to_have_value("いらっしゃいませ")
    await frame.get_by_label("For readers of").select_option("")
    await frame.get_by_label("Greeting").fill("")
    await frame.get_by_role("button", name="Save").click()
    await expect(frame.locator("#toasts")).to_contain_text("Saved")
    await frame.get_by_role("button", name="Undo the last change").click()
    await expect(frame.get_by_label("Greeting")).to_have_value("Welcome to {queue} 您好")


async def test_a_customer_can_neither_read_nor_change_settings(console: Console) -> None:
    talk = await a_room(console, "owner")
    url = await widget_url(talk)
    friend = await Customer.sign_in(console.stage.session, console.stage.synapse, "owner_friend")
    page = await console.window()
    frame = await opened(console, page, url, talk, friend)
    await expect(frame.get_by_role("status")).to_contain_text("Only room admins")
    await expect(frame.get_by_role("radio")).to_have_count(0)
    stranger = await console.stage.customer("stranger")
    frame = await opened(console, await console.window(), url, talk, stranger, language="zh-CN")
    await expect(frame.get_by_role("status")).to_contain_text("只有房间管理员")
    assert await faults(console.contexts[-1].pages[0].frames[-1]) == []


async def test_foreign_and_missing_tokens_do_not_open_the_room_page(console: Console) -> None:
    talk = await a_room(console, "host")
    url = await widget_url(talk)
    foreign: Json = {"access_token": "of-another-homeserver", "matrix_server_name": "evil.example"}
    frame = await opened(console, await console.window(), url, talk, talk.customer, token=foreign)
    await expect(frame.get_by_role("status")).to_contain_text("does not confirm")
    frame = await opened(console, await console.window(), url, talk, talk.customer, token=None)
    await expect(frame.get_by_role("status")).to_contain_text("did not allow")
    page = await console.window()
    await page.goto(f"{console.url}/room/?room={talk.room}")
    await expect(page.locator("main")).to_contain_text("!wc panel")


async def test_the_widget_where_the_bot_may_not_add_it(console: Console) -> None:
    talk = await a_room(console, "strict", bot=0)
    path = f"v3/rooms/{quote(talk.room, safe='')}/state/{WIDGET}/{KEY}"
    with pytest.raises(CustomerError):
        await talk.customer.call("GET", path)
    await talk.say("!wc panel")
    said = wording(await talk.reads("/addwidget", console.stage.bot))
    url = said.partition("/addwidget ")[2]
    frame = await opened(console, await console.window(), url, talk, talk.customer)
    await expect(frame.get_by_role("radio", name="Sales")).to_be_checked()
    friend = await Customer.sign_in(console.stage.session, console.stage.synapse, "strict_friend")
    await friend.say(talk.room, "!wc panel")
    await talk.reads("strict", console.stage.bot)


async def test_the_widget_is_added_to_the_upgraded_room(console: Console) -> None:
    talk = await a_room(console, "mover_on")
    await widget_url(talk)
    there = await upgraded(talk, "12")
    await room_call(talk.customer, "invite", there.room, {"user_id": console.stage.bot})
    page = await console.window()
    frame = await opened(console, page, await widget_url(there), there, there.customer)
    await expect(frame.get_by_role("radio", name="Sales")).to_be_checked()


async def test_the_panel_command_adds_the_widget_to_a_direct_room(console: Console) -> None:
    talk = await Talk.open(console.stage, await console.stage.customer("direct"))
    await talk.say("!wc panel")
    await talk.reads("Extensions", console.stage.bot)
    page = await console.window(width=320, height=640, scheme="dark")
    frame = await opened(
        console,
        page,
        await widget_url(talk),
        talk,
        talk.customer,
        language="zh",
        theme="dark",
    )
    await expect(frame.locator("h1")).to_have_text("本房间的 WebChat")
    await expect(frame.get_by_role("radio", name="Sales")).to_be_checked()
    await expect(frame.locator("main")).to_match_aria_snapshot(IN_CHINESE)
    await frame.get_by_label("本房间的营业时间").fill("随时")
    await frame.get_by_role("button", name="保存").click()
    refusal = frame.locator("#toasts")
    await expect(refusal).to_contain_text("操作失败")
    assert re.search("[a-z]{4,} [a-z]{3,}", await refusal.inner_text()) is None
    await frame.get_by_label("本房间的营业时间").fill("")
    await in_both_languages(page, frame)
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await frame.locator("html").evaluate(f"() => {too_wide}") <= 0


async def test_the_room_page_in_traditional_chinese(console: Console) -> None:
    """Also where the browser's own language is another: the client's comes first."""
    talk = await Talk.open(console.stage, await console.stage.customer("taiwan"))
    await talk.say("!wc 設定 改成 語言 台灣")
    await talk.say("!wc 聊天室頁面")
    url = await widget_url(talk)
    page = await console.window(language="zh-CN", width=360, height=740)
    frame = await opened(console, page, url, talk, talk.customer, language="zh-hant")
    await expect(frame.locator("h1")).to_have_text("這個聊天室的 WebChat")
    await frame.get_by_label("這個聊天室的營業時間").fill("隨時")
    await frame.get_by_role("button", name="儲存").click()
    await expect(frame.locator("#toasts")).to_contain_text("無法將「隨時」")
    language = frame.locator("option[value='zh-CN']")  # named in itself
    await language.evaluate_all("all => all.forEach((option) => option.remove())")
    assert not simplified(await frame.locator("body").inner_text())
    await in_both_languages(page, frame)
    await expect(frame.locator("h1")).to_have_text("這個聊天室的 WebChat")
    again = await console.window(language="zh-TW")
    frame = await opened(console, again, url, talk, talk.customer, language="fr")
    await expect(frame.locator("h1")).to_have_text("這個聊天室的 WebChat")
    await expect(frame.get_by_role("cell", name="指令")).to_have_css("white-space", "nowrap")
    await expect(frame.get_by_role("listitem")).to_have_text("語言：— → zh-TW")
