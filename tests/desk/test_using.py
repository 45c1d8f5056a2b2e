"""Accessibility and safety of the desk: keyboard, two languages, small screens, dark mode."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from bridge.simulator import samples
from tests.desk.floor import Floor, OpenFloor
from tests.desk.pictures import label
from tests.desk.test_talking import heard, loaded, uploaded

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "desk.png"

CONTRASTS = """() => {
    const style = getComputedStyle(document.documentElement);
    const probe = document.body.appendChild(document.createElement("i"));
    const rgb = (name) => {
        probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    };
    const light = (name) => {
        const [r, g, b] = rgb(name).map((part) => {
            const value = part / 255;
            return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => {
        const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
        return (bright + 0.05) / (dark + 0.05);
    };
    const pairs = [["--ink", "--bg"], ["--ink", "--panel"], ["--ink", "--soft"],
        ["--muted", "--panel"], ["--muted", "--bg"], ["--muted", "--raised"],
        ["--on-accent", "--accent"], ["--bad", "--panel"], ["--warn", "--panel"],
        ["--warn", "--warn-soft"]];
    const found = pairs.map(([a, b]) => [`${a} on ${b}`, ratio(a, b)]);
    probe.remove();
    return found;
}"""
UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, a[href], audio")]
    .filter((one) => one.checkVisibility())
    .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.title
        || [...(one.labels ?? [])].some((label) => label.textContent.trim())))
    .map((one) => one.outerHTML)"""


async def test_a_whole_conversation_without_a_mouse(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        phone, _ = await here.waiting("ada")
        other, _ = await here.waiting("bob")
        await expect(page.locator("#waiting .card")).to_have_count(2)
        press = page.keyboard.press
        await press("?")
        await expect(page.get_by_role("dialog")).to_contain_text(
            "accept the customer who has waited longest"
        )
        await press("Escape")
        await press("Alt+a")
        await phone.push(202)
        await expect(page.locator("#words")).to_be_focused()
        await page.keyboard.type("Good day")
        await press("Shift+Enter")
        await page.keyboard.type("Ada")
        await press("Enter")
        assert (await heard(phone))["content"] == "Good day<br>Ada"

        await press("Alt+m")
        await press("Enter")  # the first face
        await press("Enter")  # send
        assert (await heard(phone))["content"] == "🙂"
        await press("Alt+l")
        await page.get_by_label("Name of the place").focus()
        await press("Enter")
        assert (await heard(phone))["type"] == 4
        await press("Alt+v")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        for key, name in (("i", "pick-image"), ("u", "pick-file")):
            async with page.expect_file_chooser() as chooser:
                await press(f"Alt+{key}")
            chosen = await chooser.value
            assert await chosen.element.get_attribute("id") == name
            await chosen.set_files([])

        await press("Alt+r")
        await tab_to(page, "Refused")
        await press("Enter")
        assert (await other.push(201))["queueLength"] == 1  # ada was first
        assert (await other.push(201))["requestStatus"] == 2
        await press("Alt+c")
        await tab_to(page, "Jun")
        await press("Enter")
        agents = (await phone.push(204))["agents"]
        assert isinstance(agents, list)
        assert len(agents) == 2
        await press("Alt+s")
        await phone.push(203)
        await press("Alt+x")
        await press("Enter")
        await phone.push(205)


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control with this text has the focus."""
    await expect(page.get_by_role("dialog")).to_be_visible()
    for _ in range(30):
        if name in await page.evaluate("document.activeElement.textContent"):
            return
        await page.keyboard.press("Tab")
    pytest.fail(f"Tab never came to {name}")


async def test_the_focus_is_kept_while_the_list_of_customers_changes(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        for name in ("ada", "bob", "eve"):
            await here.chat(name)
        await expect(page.locator("#mine .card")).to_have_count(3)
        seen = []
        for key in ("j", "j", "k"):
            await page.keyboard.press(f"Alt+{key}")
            seen.append(await page.locator("#who").text_content())
        assert seen == ["ada", "bob", "ada"]
        # The list is redrawn with every message; the focused button keeps the focus.
        await page.locator('[data-key="open-eve"]').focus()
        await here.here.simulator.do({"op": "say", "login": "bob", "text": "news"})
        await expect(page.locator("#mine")).to_contain_text("news")
        await expect(page.locator('[data-key="open-eve"]')).to_be_focused()


async def test_unread_messages_are_counted(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, session = await here.chat("ada")
        for text in ("one", "two"):
            await phone.text(session, text)
        await expect(page.locator("#mine .unread")).to_have_text("2")
        await page.locator("#mine .card button").click()
        await expect(page.locator("#mine .unread")).to_have_count(0)
        await here.waiting("bob")
        await expect(page).to_have_title("(1) Agent desk")
        # Messages of an ended chat do not count as unread.
        await page.locator("#back").evaluate("button => button.click()")
        await phone.text(session, "bye")
        await expect(page.locator("#mine .unread")).to_have_text("1")
        await here.here.simulator.do({"op": "close", "login": "ada"})
        await expect(page.locator("#ended .card")).to_have_count(1)
        await expect(page.locator(".unread")).to_have_count(0)


async def test_cards_fit_their_column_and_customers_of_one_name_are_marked(
    floor: OpenFloor,
) -> None:
    """A customer with two rooms is two customers of the same name to WebChat."""
    async with floor() as here:
        page = await here.desk()
        for name, login in (("wang", "mx-1"), ("wang", "mx-2"), ("eve", "mx-3")):
            token = await here.here.login(login, shown=name)
            phone = await here.here.phone(token=token)
            await phone.send(101, queueId=1, **{"from": "APP"})
            await phone.reply(101)
            await here.here.simulator.do({"op": "accept", "login": login, "agent": "A00001"})
            session = int(str((await phone.push(202))["sessionId"]))
            await phone.text(session, "a long line " * 30)
        await expect(page.locator("#mine .card")).to_have_count(3)
        await expect(page.locator("#mine .badge")).to_have_text(["2 chats", "2 chats"])
        hues = await page.locator("#mine .face").evaluate_all(
            "faces => faces.map(face => face.style.getPropertyValue('--hue'))"
        )
        assert hues[0] == hues[1] != hues[2]
        # Found and measured in one call, as the page redraws its cards with each text.
        rights = """[...document.querySelectorAll(".list, #mine .card")]
            .map(one => one.getBoundingClientRect().right)"""
        column, *cards = await page.evaluate(rights)
        assert len(cards) == 3
        assert 0 < min(cards) <= max(cards) <= column


async def test_a_card_shows_the_last_text_with_emoji(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, session = await here.chat()
        last = page.locator("#mine .card .more")
        for text in ("hi /::)", "x" * 59 + "😟" * 9):
            await phone.text(session, text)
            await phone.reply(110)
            await expect(last).to_have_text("hi 🙂" if text == "hi /::)" else "x" * 59 + "😟")
        # Found and measured in one call, as the page redraws its cards.
        edges = """["#mine .card", "#mine .card .more"]
            .map((one) => document.querySelector(one).getBoundingClientRect().right)"""
        card, words = await page.evaluate(edges)
        assert 0 < words < card
        said = "see &lt;me&gt;<br><b>/::)</b><script>gone()</script>"
        await here.here.simulator.do({"op": "say", "text": said})
        await expect(last).to_have_text("see <me> 🙂")


async def test_a_draft_to_one_customer_is_not_sent_to_another(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        ada, _ = await here.chat("ada")
        bob, _ = await here.chat("bob")
        words = page.locator("#words")
        await page.locator("#mine .card").filter(has_text="ada").get_by_role("button").click()
        await words.fill("secret of Ada")
        await page.locator("#mine .card").filter(has_text="bob").get_by_role("button").click()
        await expect(words).to_have_value("")
        await words.fill("hello Bob")
        await page.keyboard.press("Enter")
        assert (await heard(bob))["content"] == "hello Bob"
        await page.locator("#mine .card").filter(has_text="ada").get_by_role("button").click()
        await expect(words).to_have_value("secret of Ada")
        await page.keyboard.press("Enter")
        assert (await heard(ada))["content"] == "secret of Ada"


async def test_a_location_is_not_sent_once_its_chat_has_ended(floor: OpenFloor) -> None:
    async with floor(quiet=False) as here:
        page = await here.desk()
        ada, session = await here.chat("ada")
        await page.locator("#mine .card button").click()
        await here.chat("bob")
        await page.keyboard.press("Alt+l")
        await ada.send(103, sessionId=session)
        await expect(page.locator("#ended .card")).to_have_count(1)
        await page.get_by_role("dialog").get_by_role("button", name="Send location").click()
        await expect(page.locator(".toasts")).to_contain_text(f"session {session} is not open")
        customers = here.here.simulator.customers
        assert customers["bob"].said == []


async def test_the_fields_of_a_dialog_do_not_touch(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        await here.chat()
        await page.locator("#mine .card button").click()
        await page.keyboard.press("Alt+t")
        dialog = page.get_by_role("dialog")
        field, choice = dialog.get_by_role("spinbutton"), dialog.get_by_role("button", name="Jun")
        above, below = await field.bounding_box(), await choice.bounding_box()
        assert above is not None
        assert below is not None
        assert below["y"] - (above["y"] + above["height"]) >= 8


async def test_both_languages_have_all_texts(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk(language="zh-CN")
        await expect(page.locator("h1")).to_have_text("坐席台")
        assert await page.locator("html").get_attribute("lang") == "zh-CN"
        await here.waiting("ada")
        await expect(page.get_by_role("button", name="接入: ada")).to_be_visible()
        await page.get_by_role("button", name="English").click()
        await expect(page.get_by_role("button", name="Accept: ada")).to_be_visible()
        await page.reload()
        await expect(page.locator("h1")).to_have_text("Agent desk")
        words = await page.evaluate(
            "import('/desk/words.js').then(({known}) => [known('en'), known('zh')])"
        )
        assert words[0] == words[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark_mode_have_enough_contrast(floor: OpenFloor, scheme: str) -> None:
    async with floor() as here:
        page = await here.desk(scheme=scheme)
        dim = [pair for pair in await page.evaluate(CONTRASTS) if pair[1] < 4.5]
        assert dim == []
        background = "getComputedStyle(document.body).backgroundColor"
        before = await page.evaluate(background)
        # The button cycles through system, light, dark; the system's scheme is one of the two.
        seen = set()
        for _ in range(3):
            await page.get_by_role("button", name="Light or dark").click()
            seen.add(await page.evaluate(background))
        assert before in seen
        assert len(seen) == 2


async def test_a_phone_shows_either_the_list_or_the_chat(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk(width=390, height=780)
        phone, _ = await here.waiting("ada")
        await page.get_by_role("button", name="Accept: ada").click()
        await phone.push(202)
        await expect(page.locator("#chat")).to_be_visible()
        await expect(page.locator("#list")).to_be_hidden()
        await page.locator("#words").fill("a long word " + "x" * 120)
        await page.get_by_role("button", name="Send", exact=True).click()
        await heard(phone)
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert await page.evaluate(wide) is False
        small = """() => [...document.querySelectorAll("button")]
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 30)
            .map((one) => one.outerHTML)"""
        assert await page.evaluate(small) == []
        await page.get_by_role("button", name="Back to the list").click()
        await expect(page.locator("#list")).to_be_visible()
        assert await page.evaluate(wide) is False


async def test_every_control_has_a_name(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        await here.chat("ada")
        await here.waiting("bob")
        await here.here.simulator.do({"op": "voice"})
        await page.locator("#mine .card button").click()
        await expect(page.locator(".entry audio")).to_have_count(1)
        assert await page.evaluate(UNNAMED) == []
        for key in ("h", "m", "v", "l", "t", "c", "x", "r"):
            await page.keyboard.press(f"Alt+{key}")
            await expect(page.get_by_role("dialog")).to_have_count(1)
            assert await page.evaluate(UNNAMED) == []
            await page.keyboard.press("Escape")


async def test_texts_cannot_run_scripts_or_request_other_servers(floor: OpenFloor) -> None:
    # Not quiet: Chromium reports blocked actions even while the text is only being parsed.
    async with floor(quiet=False) as here:
        page = await here.desk()
        await here.chat("ada")
        await page.locator("#mine .card button").click()
        evil = (
            "<script>window.hit = 1</script><img src='https://example.org/pixel.png'>"
            "<img src=x onerror='window.hit = 1'><a href='javascript:window.hit = 1'>go</a>"
            "<b onclick='window.hit = 1' style='position:fixed'>bold</b>"
        )
        await here.here.simulator.do({"op": "say", "text": evil})
        await expect(page.locator(".entry.agent b")).to_have_text("bold")
        assert await page.locator(".entry.agent .bubble").evaluate("(one) => one.innerHTML") == (
            "🖼 https://example.org/pixel.png🖼 xgo<b>bold</b>"
        )
        assert await page.evaluate("window.hit") is None


async def test_other_sites_cannot_act_as_the_agent(floor: OpenFloor) -> None:
    async with floor() as here:
        http, origin = here.here.http, here.here.origin
        for path in ("/desk", "/desk/app.js"):
            async with http.get(origin + path) as response:
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
        strange = ("https://example.org", "null", "http://[::1")
        paths = ("/_sim/do", "/desk/stream")
        for method, path, other in itertools.product(("GET", "POST"), paths, strange):
            async with http.request(method, origin + path, headers={"Origin": other}) as response:
                assert response.status == 403, (path, other)
        port = urlsplit(origin).port
        for name, status in (("evil.example", 403), ("localhost", 200), ("[::1]", 200)):
            # DNS rebinding: a foreign name that resolves to this host is its own origin.
            own = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
            for path in ("/_sim/state", "/desk"):
                async with http.get(origin + path, headers=own) as response:
                    assert response.status == status, name
            async with http.get(origin + "/_sim/state", headers={"Host": own["Host"]}) as response:
                assert response.status == status, name
        for path in ("/desk/none.js", "/desk/app.py", "/desk/files/1/x", "/desk/voices/1"):
            async with http.get(origin + path) as response:
                assert response.status == 404, path


async def a_real_conversation(here: Floor, tmp_path: Path) -> Page:
    """Hold the chat in the documentation's picture, with every message sent over sockets."""
    page = await here.desk(width=1320, height=960)
    bob, request = await here.waiting("林晓")
    await bob.send(111, requestId=request, content="你好，我想退货")
    await bob.reply(111)
    await here.chat("Grace", agent="A00002")
    phone, session = await here.chat("Ada Wong")
    await page.locator("#mine .card button").click()

    async def write(text: str) -> None:
        await page.locator("#words").fill(text)
        await page.keyboard.press("Enter")
        await heard(phone)

    async def send(kind: int, content: dict[str, object]) -> None:
        await phone.send(110, sessionId=session, msg={"type": kind, "content": content})
        await phone.reply(110)

    await send(1, {"text": "Hello, my parcel is late 😟"})
    await write("Good morning Ada, I am Mei. Do you have its label at hand?")
    address = await uploaded(here, phone, "label.png", label())
    await send(2, {"name": "label.png", "imageUri": address})
    await loaded(page, ".entry.customer img", 420)
    await write("Thank you! It left Shanghai this morning and comes today before six. 🚚")
    (tmp_path / "delivery note.pdf").write_bytes(b"%PDF-1.4\n" + bytes(48_200))
    await page.locator("#pick-file").set_input_files(tmp_path / "delivery note.pdf")
    await heard(phone)
    place = {"poi": "东方明珠", "longitude": 121.499718, "latitude": 31.239703, "map": "baidu"}
    await send(4, place)
    await phone.send(112, sessionId=session, content="Great, then I will wait at the d")
    await phone.reply(112)
    await expect(page.locator("#typing")).to_contain_text("at the d")
    await expect(page.locator("#waiting .time")).not_to_have_text("0:00")
    return page


async def test_the_picture_in_the_documentation(floor: OpenFloor, tmp_path: Path) -> None:
    """Replaced with DESK_PICTURE=1 (`tests/desk/run --picture`), else left unchanged."""
    queues = {"1": "Sales 售前"}
    async with floor(dialect="2019", upload_mode="both", queue_names=queues) as here:
        page = await a_real_conversation(here, tmp_path)
        shot = tmp_path / "desk.png"
        await page.screenshot(path=shot, animations="disabled")
        assert shot.read_bytes().startswith(samples.picture("")[:8])
        if os.environ.get("DESK_PICTURE"):
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(shot, PICTURE)
    assert PICTURE.exists()
