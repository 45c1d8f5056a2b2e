"""A customer's own account: tried at once, used from the next call on, and never mistaken."""

from __future__ import annotations

import asyncio
from dataclasses import replace as changed

import msgspec
import pytest
from aiohttp import web

from bridge.conversation.events import FailureReason
from bridge.ids import QueueId, RoomId
from bridge.link import LinkSettings
from bridge.link.accounts import Accounts
from bridge.link.failures import OpenFailure
from bridge.rooms.ports import Account, CallFailure
from bridge.rooms.record import OwnLogin
from bridge.rooms.store import StoreError
from bridge.webchat.frames import RequestChat
from bridge.webchat.http import PasswordLogin, RegisterLogin
from tests.unit.link.rig import WildServer, account, eventually, rig, settings_for

ADA = account()
OWN = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"good"))
TYPO = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"typo"))
ASK = RequestChat(QueueId(1))


def unseal(room_id: RoomId, sealed: bytes) -> str:
    assert room_id == ADA.room_id
    if sealed == b"broken":
        raise StoreError("sealed with another secret")
    return sealed.decode()


class Server(WildServer):
    """Takes the password "good", and whatever registers; gives each login a token of its own.

    Attributes:
        bodies: of the logins.
        open: logins wait while it is not set.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.open = asyncio.Event()
        self.open.set()

        async def login(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            self.bodies.append(body)
            await self.open.wait()
            if body["type"] == 1 and body["password"] != "good":
                return web.json_response({"result": -20, "message": "no"})
            return web.json_response({"result": 1, "token": f"T{len(self.bodies)}"})

        super().__init__(login=login)

    @property
    def names(self) -> list[object]:
        return [body["loginName"] for body in self.bodies]


def settings(server: WildServer) -> LinkSettings:
    return settings_for(server.base_url, unseal=unseal)


def credentials(who: Account, **changes: object) -> object:
    plain = LinkSettings(base_url="http://crm", enterprise_id="E", unseal=unseal)
    return Accounts(changed(plain, **changes)).credentials(who).login  # type: ignore[arg-type]  # names


def test_which_account_counts() -> None:
    assert credentials(OWN) == PasswordLogin("ada", "good", "E")
    assert isinstance(credentials(ADA), RegisterLogin)
    assert isinstance(credentials(OWN, unseal=None), RegisterLogin)  # switched off since
    assert "good" not in repr(credentials(OWN))


def test_a_password_that_cannot_be_opened_any_more() -> None:
    broken = msgspec.structs.replace(ADA, login=OwnLogin("ada", b"broken"))
    with pytest.raises(OpenFailure, match="log in again") as caught:
        credentials(broken)
    assert caught.value.reason is FailureReason.LOGIN_REFUSED


@pytest.mark.asyncio
async def test_a_login_is_tried_and_its_token_used() -> None:
    server = Server()
    async with server.running(), rig(settings(server)) as rigged:
        await rigged.links.log_in(OWN)
        assert rigged.tokens.kept[ADA.room_id].value == "T1"
        assert (await rigged.call(OWN, 1, ASK)).ok
        assert server.names == ["ada"]


@pytest.mark.asyncio
async def test_a_wrong_password_does_not_stand_in_the_way_of_the_right_one() -> None:
    server = Server()
    async with server.running(), rig(settings(server)) as rigged:
        with pytest.raises(CallFailure) as caught:
            await rigged.links.log_in(TYPO)
        assert (caught.value.reason, caught.value.code) == (FailureReason.LOGIN_REFUSED, -20)
        with pytest.raises(CallFailure):
            await rigged.links.log_in(TYPO)  # the very same: not asked again
        await rigged.links.log_in(OWN)
        assert len(server.bodies) == 2


@pytest.mark.asyncio
async def test_the_socket_of_the_former_account_is_given_up() -> None:
    server = Server()
    async with server.running(), rig(settings(server)) as rigged:
        rigged.links.keep(ADA)
        assert (await rigged.call(ADA, 1, ASK)).ok
        assert (await rigged.call(OWN, 2, ASK)).ok
        assert server.names[-1] == "ada"
        assert (await rigged.call(OWN, 3, ASK)).ok
        assert len(server.bodies) == 2
        assert (await rigged.call(ADA, 4, ASK)).ok
        assert server.names[-1] == server.names[0]
        await eventually(lambda: rigged.counts.open_links == 1)


@pytest.mark.asyncio
async def test_another_account_does_not_wait_out_the_former_one_s_refusal() -> None:
    server = Server()
    async with server.running(), rig(settings(server)) as rigged:
        rigged.links.keep(TYPO)
        await eventually(lambda: rigged.counts.open_failures == 1)
        rigged.links.keep(OWN)
        await eventually(lambda: rigged.counts.open_links == 1)
        assert server.names == ["ada", "ada"]


@pytest.mark.asyncio
async def test_an_account_that_changes_while_the_former_one_logs_in() -> None:
    server = Server()
    async with server.running(), rig(settings(server)) as rigged:
        server.open.clear()
        rigged.links.keep(ADA)
        await eventually(lambda: len(server.bodies) == 1)
        rigged.links.keep(OWN)
        server.open.set()
        assert (await rigged.call(OWN, 1, ASK)).ok
        assert server.names[-1] == "ada"
        assert rigged.tokens.kept[ADA.room_id].login_name == "ada"
