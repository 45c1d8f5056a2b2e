"""The room page's widget: put there by command, and as the bot comes into a room of several."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.ids import UserId
from bridge.rooms.people import Standing, followed
from bridge.rooms.ports import Refused
from bridge.rooms.record import Entered, Invited, Upgraded
from bridge.rooms.rules import Rules
from bridge.rooms.visit import ShowPanel
from tests.fakes.house import ROOM, World
from tests.unit.rooms.test_filing import idle, ordered
from tests.unit.rooms.test_leaving import NEW
from tests.unit.rooms.visits import ADA, BOT, RULES, SALES_USER, House

URL = "https://chat.example.org/room/"
PAGED = replace(RULES, panel_url=URL)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("rules", [RULES, PAGED])
def test_it_is_there_in_a_room_of_several(rules: object, *, direct: bool) -> None:
    house = House(PAGED if rules is PAGED else RULES)
    house.invite(direct=direct)
    house.enter(Entered(direct=direct))
    wanted = rules is PAGED and not direct
    assert (ShowPanel() in house.effects) is wanted


def test_only_an_admin_puts_it_anywhere() -> None:
    house = House(PAGED).served()
    house.say("!wc panel")
    assert house.notices == ["refused.not_admin"]
    event_id = house.say("!wc 面板", standing=Standing.ADMIN)
    assert house.effects[-1] == ShowPanel(event_id)
    without = House().served()
    without.say("!wc panel", standing=Standing.ADMIN)
    assert without.notices == ["panel.off"]


@pytest.mark.parametrize("rules", [RULES, PAGED])
def test_it_goes_along_into_the_room_that_replaces_ours(rules: Rules) -> None:
    house = House(rules).served()
    house.receive(Upgraded(NEW))
    followed(house.visit, Invited(house.event_id(), ADA, SALES_USER, direct=False), NEW)
    house.effects.clear()
    house.enter(Entered(direct=True))
    carried = [one for one in house.effects if isinstance(one, ShowPanel)]
    assert carried == ([ShowPanel(former=ROOM, reader=BOT)] if rules is PAGED else [])


async def a_world(*, may: bool) -> World:
    world = await idle()
    world.around.rules = replace(world.around.rules, panel_url=URL)
    world.matrix.levels[ADA] = 50

    async def show(room_id: str, host: UserId, url: str, name: str, former: object = None) -> None:
        assert (room_id, host, url, former) == (ROOM, BOT, URL, None)
        assert name == "panel.name"  # the rules of this world say keys
        if not may:
            raise Refused("M_FORBIDDEN")

    world.matrix.show_panel = show  # type: ignore[method-assign]
    return world


@pytest.mark.asyncio
@pytest.mark.parametrize("may", [True, False])
async def test_who_asked_for_it_is_told_what_came_of_it(*, may: bool) -> None:
    key = "panel.shown" if may else "panel.forbidden"
    assert await ordered(await a_world(may=may), "!wc panel") == [key]
