"""Further actions at the desk: dropped files, each reason for a refusal, more shortcut keys."""

from __future__ import annotations

import base64

import pytest
from playwright.async_api import expect

from bridge.simulator import samples
from tests.desk.floor import OpenFloor
from tests.desk.test_people import people
from tests.desk.test_talking import heard, uploaded

pytestmark = pytest.mark.asyncio(loop_scope="module")

DROP = """([name, kind, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, {type: kind}));
    for (const step of ["dragover", "drop"]) {
        const event = new DragEvent(step, {dataTransfer: files, bubbles: true, cancelable: true});
        document.getElementById("words").dispatchEvent(event);
        if (!event.defaultPrevented) throw new Error(`the browser would open what is dropped`);
    }
}"""


async def test_pictures_and_files_can_be_dropped(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.chat()
        await page.locator("#mine .card button").click()
        picture = samples.picture("dropped", 40, 30)
        await page.evaluate(DROP, ["a.png", "image/png", base64.b64encode(picture).decode()])
        msg = await heard(phone)
        assert (msg["type"], base64.b64decode(str(msg["content"]))) == (2, picture)
        text = base64.b64encode(b"terms").decode()
        await page.evaluate(DROP, ["terms.txt", "text/plain", text])
        msg = await heard(phone)
        content = msg["content"]
        assert isinstance(content, dict)
        assert (msg["type"], content["name"], content["size"]) == (3, "terms.txt", 5)


@pytest.mark.parametrize("status", [2, 3, 4, 5, 6])
async def test_a_request_is_refused_with_each_reason(floor: OpenFloor, status: int) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.waiting()
        await expect(page.locator("#waiting .card")).to_have_count(1)
        await page.keyboard.press("Alt+r")
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_role("button").filter(has_text=str(status))).to_have_count(1)
        await dialog.get_by_role("button").filter(has_text=str(status)).click()
        assert (await phone.push(201))["requestStatus"] == status
        await expect(page.locator("#waiting .card")).to_have_count(0)


async def test_shortcuts_for_writing_transfer_and_help(floor: OpenFloor) -> None:
    """Alt+W focuses the text field, Alt+T transfers, Alt+H shows help; none types a letter."""
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.chat()
        await expect(page.locator("#mine .card")).to_have_count(1)
        await page.keyboard.press("Alt+j")
        await page.locator("#me").focus()
        await page.keyboard.press("Alt+w")
        await expect(page.locator("#words")).to_be_focused()
        await page.keyboard.press("Alt+h")
        await expect(page.get_by_role("dialog")).to_contain_text("Alt+W")
        await page.keyboard.press("Escape")
        await page.keyboard.press("Alt+t")
        await page.get_by_role("dialog").get_by_role("button", name="Jun").focus()
        await page.keyboard.press("Enter")
        assert [agent["id"] for agent in people(await phone.push(204))] == ["A00002"]
        await expect(page.locator("#words")).to_have_value("")


async def test_a_customers_video_can_be_downloaded(floor: OpenFloor) -> None:
    async with floor(videos=True) as here:
        page = await here.desk()
        phone, session = await here.chat()
        await page.locator("#mine .card button").click()
        address = await uploaded(here, phone, "clip.mp4", b"not really a film")
        content = {"name": "clip.mp4", "url": address, "sightUrl": address, "size": 17, "extra": ""}
        await phone.send(110, sessionId=session, msg={"type": 6, "content": content})
        assert (await phone.reply(110))["result"] == 1
        link = page.get_by_role("link", name="clip.mp4")
        await expect(link).to_contain_text("17 B")
        await expect(page.locator("#mine .card")).to_contain_text("🎬 clip.mp4")
        async with page.expect_download():
            await link.click()
