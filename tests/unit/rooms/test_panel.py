"""The widget of the room page: added by command, and when the bot enters a shared room."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.ids import UserId
from bridge.rooms.effects import ShowPanel
from bridge.rooms.people import Standing, followed
from bridge.rooms.ports import Invited, Refused, Upgraded
from bridge.rooms.record import Entered
from bridge.rooms.rules import Rules
from tests.fakes.house import ROOM, World
from tests.unit.rooms.test_filing import idle, ordered
from tests.unit.rooms.test_leaving import NEW
from tests.unit.rooms.visits import ADA, BOT, RULES, SALES_USER, House

URL = "https://chat.example.org/room/"
PAGED = replace(RULES, panel_url=URL)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("rules", [RULES, PAGED])
def test_the_widget_is_added_on_entering_a_shared_room(rules: object, *, direct: bool) -> None:
    house = House(PAGED if rules is PAGED else RULES)
    house.invite(direct=direct)
    house.enter(Entered(direct=direct))
    wanted = rules is PAGED and not direct
    assert (ShowPanel() in house.effects) is wanted


def test_only_an_admin_adds_the_widget_by_command() -> None:
    house = House(PAGED).served()
    house.say("!wc panel")
    assert house.notices == ["refused.not_admin"]
    event_id = house.say("!wc 面板", standing=Standing.ADMIN)
    assert house.effects[-1] == ShowPanel(event_id)
    without = House().served()
    without.say("!wc panel", standing=Standing.ADMIN)
    assert without.notices == ["panel.off"]


@pytest.mark.parametrize("rules", [RULES, PAGED])
def test_the_widget_moves_to_the_room_after_an_upgrade(rules: Rules) -> None:
    house = House(rules).served()
    house.receive(Upgraded(NEW))
    followed(house.visit, Invited(ADA, SALES_USER, direct=False), NEW)
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
        assert name == "panel.name"  # this world renders keys, not sentences
        if not may:
            raise Refused("M_FORBIDDEN")

    world.matrix.show_panel = show  # type: ignore[method-assign]
    return world


@pytest.mark.asyncio
@pytest.mark.parametrize("may", [True, False])
async def test_the_panel_command_is_answered_with_its_outcome(*, may: bool) -> None:
    key = "panel.shown" if may else "panel.forbidden"
    assert await ordered(await a_world(may=may), "!wc panel") == [key]
