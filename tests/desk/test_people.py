"""Several desks at once: transfers, conferences, agents that come and go."""

import pytest
from playwright.async_api import expect

from tests.desk.floor import OpenFloor

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_two_desks_transfer_confer_and_leave(floor: OpenFloor) -> None:
    async with floor(queue_names={"8": "Returns"}) as here:
        mei, jun = await here.desk("A00001"), await here.desk("A00002")
        phone, _ = await here.waiting("ada")
        await expect(jun.locator("#waiting .card")).to_have_count(1)
        await mei.get_by_role("button", name="Accept: ada").click()
        await phone.push(202)
        await expect(jun.locator("#waiting .card")).to_have_count(0)
        await expect(jun.locator("#others .card")).to_contain_text("ada")

        await mei.get_by_role("button", name="Conference").click()
        await mei.get_by_role("dialog").get_by_role("button", name="Jun").click()
        assert [agent["id"] for agent in people(await phone.push(204))] == ["A00001", "A00002"]
        await jun.locator("#mine .card button").click()
        await jun.locator("#words").fill("I join")
        await jun.keyboard.press("Enter")
        assert (await phone.push(210))["agentId"] == "A00002"
        await expect(mei.locator(".entry.agent")).to_contain_text("Jun")

        await jun.get_by_role("button", name="Leave").click()
        assert [agent["id"] for agent in people(await phone.push(204))] == ["A00001"]
        await expect(jun.locator("#compose")).to_be_hidden()
        await mei.get_by_role("button", name="Transfer").click()
        await mei.get_by_label("New queue number").fill("8")
        await mei.get_by_role("dialog").get_by_role("button", name="Jun").click()
        updated = await phone.push(204)
        assert (updated["queueId"], updated["queueName"]) == (8, "Returns")
        assert [agent["id"] for agent in people(updated)] == ["A00002"]
        await expect(mei.locator("#others .card")).to_contain_text("ada")
        await expect(mei.locator("#compose")).to_be_hidden()
        await mei.get_by_role("button", name="Join this chat").click()
        assert len(people(await phone.push(204))) == 2


def people(frame: dict[str, object]) -> list[dict[str, object]]:
    agents = frame["agents"]
    assert isinstance(agents, list)
    return agents


async def test_a_new_agent_goes_online_and_offline(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk(agent="")
        await page.get_by_role("dialog").get_by_label("Name").fill("Lin")
        await page.get_by_role("button", name="Come online").click()
        await expect(page.locator("#me")).to_contain_text("Lin")
        phone, _ = await here.waiting()
        await expect(page.locator("#waiting .card")).to_have_count(1)
        await page.keyboard.press("Alt+a")
        users = (await phone.push(202))["agents"]
        assert isinstance(users, list)
        assert (users[0]["id"], users[0]["name"]) == ("A00003", "Lin")
        await page.locator("#me").click()
        await page.get_by_role("button", name="Go offline").click()
        await expect(page.locator("#me")).to_contain_text("Who are you?")
        assert len(here.here.simulator.options.agents) == 2


async def test_refusing_a_request_sends_the_reason(floor: OpenFloor) -> None:
    async with floor() as here:
        page = await here.desk()
        phone, _ = await here.waiting()
        await page.get_by_role("button", name="Refuse: ada").click()
        await page.get_by_role("dialog").get_by_role("button", name="Outside working hours").click()
        assert (await phone.push(201))["requestStatus"] == 6
        await expect(page.locator("#waiting .card")).to_have_count(0)


async def test_accepting_a_request_that_is_gone_shows_an_error(floor: OpenFloor) -> None:
    async with floor(quiet=False) as here:
        page = await here.desk()
        await here.waiting()
        button = page.get_by_role("button", name="Accept: ada")
        await expect(button).to_be_visible()
        await page.route(
            "**/_sim/do",
            lambda route: route.fulfill(
                status=400, json={"ok": False, "error": "no request 9001 is waiting"}
            ),
        )
        await button.click()
        await expect(page.get_by_role("alert")).to_contain_text("no request 9001 is waiting")


async def test_a_robots_chat_is_handed_over_to_an_agent(floor: OpenFloor) -> None:
    async with floor(dialect="2019", robot_queues=[5]) as here:
        page = await here.desk()
        phone = await here.here.phone("ada")
        await phone.send(101, queueId=5)
        session = (await phone.reply(101))["sessionId"]
        await phone.send(110, sessionId=session, msg={"type": 1, "content": {"text": "hello?"}})
        await phone.reply(110)
        await phone.push(301)
        await expect(page.locator("#others .card")).to_contain_text("对不起")
        await phone.send(302, sessionId=session)
        assert (await phone.reply(302))["queueLength"] == 1
        assert (await phone.push(201))["sessionId"] == session
        await page.get_by_role("button", name="Accept: ada").click()
        assert people(await phone.push(204))[0]["id"] == "A00001"
        # The agent sees the chat with the robot.
        await expect(page.locator(".entry.customer")).to_contain_text("hello?")
        await expect(page.locator(".entry.robot")).to_contain_text("对不起")


async def test_a_desk_reconnects_after_a_restart_of_the_server(floor: OpenFloor) -> None:
    async with floor(quiet=False) as here:
        page = await here.desk()
        simulator = here.here.simulator
        await here.chat()
        await page.locator("#mine .card button").click()
        port = int(here.here.origin.rpartition(":")[2])
        await simulator.stop()
        await expect(page.locator("#link")).to_have_text("not connected, trying again…")
        await simulator.start(port=port)
        await expect(page.locator("#link[data-up]")).to_have_text("connected")
        await simulator.do({"op": "say", "text": "still here"})
        await expect(page.locator(".entry.agent")).to_have_count(1)
        # The restarted simulator's entries replaced the old ones.
        await expect(page.locator(".event.accepted")).to_have_count(1)
        await expect(page.locator("#typing")).to_contain_text("connection is down")
