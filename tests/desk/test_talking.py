"""An agent at the desk chats with customers: texts, typing, and media both ways."""

import asyncio
import base64
import io
import wave
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from bridge.simulator import samples
from tests.conformance.simulator_client import Json, Phone
from tests.desk.floor import Floor, OpenFloor

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASTE = """(data) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], "pasted.png", {type: "image/png"}));
    const event = new ClipboardEvent("paste", {clipboardData: files, bubbles: true});
    document.getElementById("words").dispatchEvent(event);
}"""
SLOW_MICROPHONE = """() => {
    const really = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    Object.assign(window, {asked: 0, streams: [], give: null});
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        window.asked += 1;
        await new Promise((resolve) => { window.give = resolve; });
        const stream = await really(wanted);
        window.streams.push(stream);
        return stream;
    };
}"""
MICROPHONES_CLOSED = """async () => {
    const closed = (one) => one.getTracks()[0].readyState === "ended";
    while (window.streams.length < 2 || !window.streams.every(closed)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}"""
NO_MICROPHONE = """() => {
    navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("", "NotFoundError");
    };
}"""


async def heard(phone: Phone) -> Json:
    """Return the `msg` of the next push 210 other than a typing notice."""
    while True:
        msg = (await phone.push(210))["msg"]
        assert isinstance(msg, dict)
        if msg.get("noticeType") != 5:
            return msg


async def test_queue_accept_talk_rate_and_end(floor: OpenFloor) -> None:
    async with floor(queue_names={"1": "Sales"}) as here:
        page = await here.desk()
        phone, request = await here.waiting("ada")
        card = page.locator("#waiting .card")
        await expect(card).to_contain_text("queue Sales")
        await phone.send(111, requestId=request, content="order 4711")
        await phone.reply(111)
        await card.get_by_role("button", name="ada").first.click()
        await expect(page.locator(".entry.customer")).to_contain_text("order 4711")
        await expect(page.locator("#compose")).to_be_hidden()

        await page.get_by_role("button", name="Accept: ada").click()
        session = int(str((await phone.push(202))["sessionId"]))
        await expect(page.locator("#words")).to_be_focused()
        await page.locator("#words").fill("Hello <Ada>\nhow are you? 🙂")
        await page.keyboard.press("Enter")
        assert await heard(phone) == {
            "type": 1,
            "content": "Hello &lt;Ada&gt;<br>how are you? 🙂",
        }
        await expect(page.locator(".entry.agent")).to_contain_text("Hello <Ada>\nhow are you? 🙂")
        await page.get_by_label("HTML").check()
        await page.locator("#words").fill('<a href="https://example.org/faq">FAQ</a> /::)')
        await page.get_by_role("button", name="Send", exact=True).click()
        assert (await heard(phone))["content"] == '<a href="https://example.org/faq">FAQ</a> /::)'
        last = page.locator(".entry.agent").last
        await expect(last.get_by_role("link", name="FAQ")).to_have_attribute(
            "href", "https://example.org/faq"
        )
        await expect(last).to_contain_text("🙂")

        number = await phone.text(session, "fine 👍 <img src=x onerror=alert(1)>")
        await phone.reply(110)
        await phone.text(session, "fine 👍 again", messageId=number)
        await phone.reply(110)
        await expect(page.locator(".entry.customer").nth(1)).to_contain_text("<img src=x")
        await expect(page.locator(".entry.customer").last).to_contain_text("sent again")

        await page.get_by_role("button", name="Ask for rating").click()
        assert (await phone.push(203))["agentId"] == "A00001"
        await phone.send(104, sessionId=session, rating={"id": 1, "comments": "quick"})
        await phone.reply(104)
        await expect(page.locator(".event.rated")).to_have_text("Rating: 满意 (1) — quick")
        await page.get_by_role("button", name="End chat").click()
        await page.get_by_role("dialog").get_by_role("button", name="End chat").click()
        assert (await phone.push(205))["agentId"] == "A00001"
        await expect(page.locator("#ended .card")).to_have_count(1)
        await expect(page.locator("#compose")).to_be_hidden()


async def test_typing_is_seen_on_both_sides(floor: OpenFloor) -> None:
    async with floor(dialect="2019") as here:
        page = await here.desk()
        phone, session = await here.chat()
        await page.locator("#mine .card button").click()
        await phone.send(113, sessionId=session)
        await phone.reply(113)
        await expect(page.locator("#typing")).to_have_text("ada is typing…")
        await phone.send(112, sessionId=session, content="my par")
        await phone.reply(112)
        await expect(page.locator("#typing")).to_have_text("ada writes: my par")
        msg = {"type": 1, "content": {"text": "my parcel"}}
        await phone.send(110, sessionId=session, msg=msg)
        await phone.reply(110)
        await expect(page.locator("#typing")).to_have_text("")
        await page.locator("#words").press_sequentially("one moment")
        typed = (await phone.push(210))["msg"]
        assert typed == {"type": 99, "content": "", "noticeType": 5}
        await page.keyboard.press("Enter")
        assert (await heard(phone))["content"] == "one moment"
        # A typing notice disappears by itself after some seconds.
        await phone.send(113, sessionId=session)
        await expect(page.locator("#typing")).to_have_text("ada is typing…")
        await expect(page.locator("#typing")).to_have_text("")


async def test_no_typing_notices_are_sent_in_the_dialect_of_2016(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.chat()
        await page.locator("#mine .card button").click()
        await page.locator("#words").press_sequentially("hi")
        await page.keyboard.press("Enter")
        assert await phone.push(210) == {
            "type": 210,
            "sessionId": 5001,
            "agentId": "A00001",
            "msg": {"type": 1, "content": "hi"},
        }


async def test_an_agent_sends_a_picture_a_file_and_a_location(
    floor: OpenFloor, tmp_path: Path
) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.chat()
        await page.locator("#mine .card button").click()
        picture = samples.picture("label", 120, 80)
        (tmp_path / "label.png").write_bytes(picture)
        (tmp_path / "条款 1.txt").write_text("terms", encoding="utf-8")

        async with page.expect_file_chooser() as chooser:
            await page.get_by_role("button", name="Picture").click()
        await (await chooser.value).set_files(tmp_path / "label.png")
        msg = await heard(phone)
        assert (msg["type"], base64.b64decode(str(msg["content"]))) == (2, picture)
        await loaded(page, ".entry.agent img", 120)

        async with page.expect_file_chooser() as chooser:
            await page.get_by_role("button", name="File").click()
        await (await chooser.value).set_files(tmp_path / "条款 1.txt")
        content = (await heard(phone))["content"]
        assert isinstance(content, dict)
        assert (content["name"], content["size"], content["type"]) == ("条款 1.txt", 5, "txt")
        async with here.here.http.get(here.here.origin + content["url"]) as response:
            assert await response.text() == "terms"
        async with page.expect_download() as download:
            await page.get_by_role("link", name="条款 1.txt").click()
        assert (await (await download.value).path()).read_text(encoding="utf-8") == "terms"

        await page.get_by_role("button", name="Location").click()
        await page.get_by_role("button", name="天安门").click()
        await page.get_by_label("Coordinates of").select_option("gaode")
        await page.get_by_role("button", name="Send location").click()
        assert (await heard(phone))["content"] == {
            "poi": "天安门",
            "latitude": 39.908692,
            "longitude": 116.397477,
            "map": "gaode",
            "thumbData": "",
            "extra": "",
        }
        await expect(page.locator(".entry.location")).to_contain_text("39.908692, 116.397477")


async def loaded(page: Page, image: str, width: int) -> None:
    """Wait until the picture is loaded."""
    await page.wait_for_function(
        "([image, width]) => document.querySelector(image)?.naturalWidth === width",
        arg=[image, width],
    )


async def test_a_picture_can_be_pasted_and_emoji_picked(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.chat()
        await page.locator("#mine .card button").click()
        data = base64.b64encode(samples.picture("pasted", 30, 20)).decode()
        await page.evaluate(PASTE, data)
        assert (await heard(phone))["content"] == data
        for as_code, wanted in ((False, "🌹"), (True, "/:rose")):
            await page.get_by_role("button", name="Emoji").click()
            if as_code:
                await page.get_by_label("Insert as WeChat code").check()
            await page.get_by_role("dialog").get_by_role("button", name="玫瑰").click()
            await expect(page.locator("#words")).to_have_value(wanted)
            await page.keyboard.press("Enter")
            assert (await heard(phone))["content"] == wanted
            await expect(page.locator(".entry.agent").last).to_contain_text("🌹")


async def test_voice_messages_are_sent_as_amr(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.chat()
        await page.locator("#mine .card button").click()
        await page.get_by_role("button", name="Voice").click()
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Recording… 1 s")
        await page.get_by_role("button", name="Stop and send").click()
        assert seconds_of(await heard(phone)) >= 1
        await page.get_by_role("button", name="Voice").click()
        await page.get_by_role("button", name="Send a sample").click()
        assert seconds_of(await heard(phone)) == 1.5
        await expect(page.locator(".entry.agent audio")).to_have_count(2)
        # A cancelled recording is not sent.
        await page.get_by_role("button", name="Voice").click()
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Recording…")
        await page.keyboard.press("Escape")
        await page.locator("#words").fill("no")
        await page.keyboard.press("Enter")
        assert (await heard(phone))["content"] == "no"


def seconds_of(msg: Json) -> float:
    """Return the seconds of a voice message in half seconds, after checking that it is AMR."""
    assert msg["type"] == 5
    voice = base64.b64decode(str(msg["content"]))
    assert voice.startswith(samples.AMR)
    with wave.open(io.BytesIO(samples.to_wav(voice))) as file:
        return float(round(2 * file.getnframes() / file.getframerate())) / 2


async def test_without_a_microphone_a_sample_can_be_sent(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        await page.evaluate(NO_MICROPHONE)
        phone, _ = await here.chat()
        await page.locator("#mine .card button").click()
        await page.get_by_role("button", name="Voice").click()
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("dialog")).to_contain_text("NotFoundError")
        await expect(page.get_by_role("button", name="Record")).to_be_disabled()
        await page.get_by_role("button", name="Send a sample").click()
        assert seconds_of(await heard(phone)) == 1.5


async def test_no_microphone_stays_open_without_its_dialog(floor: OpenFloor) -> None:
    """If "Record" is clicked twice, or the dialog closed before the browser grants access."""
    async with floor() as here:
        page = await here.desk()
        await page.evaluate(SLOW_MICROPHONE)
        await here.chat()
        await page.locator("#mine .card button").click()
        await page.get_by_role("button", name="Voice").click()
        await page.get_by_role("button", name="Record").dblclick()
        await page.evaluate("window.give()")
        await expect(page.get_by_role("dialog")).to_contain_text("Recording…")
        assert await page.evaluate("window.asked") == 1
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Voice").click()
        await page.get_by_role("button", name="Record").click()
        await page.keyboard.press("Escape")
        await page.evaluate("window.give()")
        async with asyncio.timeout(30):
            await page.evaluate(MICROPHONES_CLOSED)


async def uploaded(here: Floor, phone: Phone, name: str, body: bytes) -> str:
    """Upload a file as a customer does; returns its absolute address."""
    url = f"{here.here.simulator.base_url}/tpiu?token={phone.token}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    async with here.here.http.post(url, data=io.BytesIO(body), headers=headers) as response:
        return here.here.origin + str((await response.json())["url"])


async def test_customers_media_are_shown(floor: OpenFloor) -> None:
    async with floor(upload_mode="both", frame_limit=100_000) as here:
        page = await here.desk()
        phone, session = await here.chat()
        await page.locator("#mine .card button").click()

        async def send(kind: int, content: Json) -> None:
            await phone.send(110, sessionId=session, msg={"type": kind, "content": content})
            assert (await phone.reply(110))["result"] == 1

        address = await uploaded(here, phone, "cat.png", samples.picture("cat", 90, 60))
        await send(2, {"name": "cat.png", "imageUri": address, "thumbData": "", "extra": ""})
        await loaded(page, ".entry.customer img", 90)
        address = await uploaded(here, phone, "evil.html", b"<script>alert(1)</script>")
        file = {"name": "evil.html", "url": address, "size": 25, "type": "html", "extra": ""}
        await send(3, file)
        link = page.get_by_role("link", name="evil.html")
        await expect(link).to_contain_text("25 B")
        async with page.expect_download():
            await link.click()
        place = {"poi": "东方明珠", "longitude": 121.5, "latitude": 31.2, "map": "baidu"}
        await send(4, {**place, "thumbData": "", "extra": ""})
        await expect(page.locator(".entry.location")).to_contain_text("31.2, 121.5 (baidu)")
        data = base64.b64encode(samples.voice(3)).decode()
        await send(5, {"voiceLength": 3, "voiceData": data, "extra": ""})
        await expect(page.locator(".entry.voice")).to_contain_text("0:03")
        length = await page.locator(".entry.voice audio").evaluate(
            """(audio) => new Promise((resolve, reject) => {
                audio.onloadedmetadata = () => resolve(audio.duration);
                audio.onerror = () => reject(audio.error);
                audio.load();
                audio.preload = "auto";
            })"""
        )
        assert round(length) == 3
        # A picture on another server becomes a link: the desk makes no requests to others.
        remote = {"name": "far.png", "imageUri": "https://example.org/far.png", "thumbData": ""}
        await send(2, {**remote, "extra": ""})
        await expect(page.get_by_role("link", name="far.png")).to_be_visible()
