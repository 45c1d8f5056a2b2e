"""The provisioning API over a loopback socket: authentication, limits and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import RawTestServer, TestClient
from aiohttp.web import BaseRequest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.admin import provisioning as module
from bridge.admin.operations import LONGEST_BODY
from bridge.admin.provisioning import PREFIX, TOGETHER, Budget, Provisioning
from bridge.config import model
from bridge.matrix.appservice import Endpoint
from tests.fakes.house import ROOM
from tests.support.api_table import document
from tests.unit.admin.office import Office, office
from tests.unit.matrix.test_transactions import OURS, answer_user_query

SECRET = "0123456789abcdef0123456789abcdef"
COUNT, SECONDS = 100, 10.0


def section(count: int = COUNT, seconds: float = SECONDS) -> model.Provisioning:
    rate = model.RequestRate(count=count, per_seconds=seconds)
    return model.Provisioning(enabled=True, secret=SecretStr(SECRET), rate=rate)


class Rig(NamedTuple):
    client: TestClient[BaseRequest, None]
    office: Office
    counted: list[tuple[str, int]]
    moment: list[float]
    """The time of the clock, as the only element."""

    async def call(
        self,
        path: str,
        method: str = "GET",
        secret: str | None = SECRET,
        body: bytes | None = None,
        **headers: str,
    ) -> tuple[int, Any, Any]:
        """Send a request; return status, headers, and decoded answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if secret is not None:
            named["Authorization"] = f"Bearer {secret}"
        async with self.client.request(method, PREFIX + path, data=body, headers=named) as response:
            return response.status, response.headers, await response.json()


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    counted: list[tuple[str, int]] = []
    moment = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "monotonic", lambda: moment[0])
        async with office() as there:
            provisioning = Provisioning(
                section(),
                there.operations,
                lambda operation, status: counted.append((operation, status)),
            )

            async def accept(_events: object) -> None: ...

            endpoint = Endpoint(
                hs_token="s3cret",
                users=OURS,
                accept=accept,
                answer_user_query=answer_user_query,
                max_body=1_000,
                folders={f"{PREFIX}/": provisioning.handle},
            )
            async with RawTestServer(endpoint.handle) as server:
                client: TestClient[BaseRequest, None] = TestClient(server)
                async with client:
                    yield Rig(client, there, counted, moment)


@pytest.mark.asyncio
async def test_only_requests_with_the_secret_are_answered() -> None:
    async with rig() as there:
        status, headers, answer = await there.call("/rooms")
        assert (status, len(answer["rooms"])) == (200, 2)
        assert headers["Cache-Control"] == "no-store"
        with capture_logs() as logs:
            for secret, errcode in (
                (None, "M_MISSING_TOKEN"),
                ("", "M_MISSING_TOKEN"),
                ("wrong", "M_UNKNOWN_TOKEN"),
                (SECRET[:-1], "M_UNKNOWN_TOKEN"),
                (f"{SECRET}\xe4", "M_UNKNOWN_TOKEN"),
                ("s3cret", "M_UNKNOWN_TOKEN"),
            ):
                status, _, answer = await there.call("/rooms", secret=secret)
                assert (status, answer["errcode"]) == (401, errcode)
        assert [line["event"] for line in logs] == ["provisioning call with a wrong secret"]
        assert SECRET not in str(logs)
        assert there.counted == [("list_rooms", 200), *[("none", 401)] * 6]
        by_query = await there.client.get(f"{PREFIX}/rooms?access_token={SECRET}")
        assert by_query.status == 401, "secrets in addresses end up in logs"


@pytest.mark.asyncio
async def test_requests_of_the_homeserver_still_work() -> None:
    async with rig() as there:
        put = await there.client.put(
            "/_matrix/app/v1/transactions/1",
            data=b'{"events": []}',
            headers={"Authorization": "Bearer s3cret"},
        )
        assert put.status == 200
        other = await there.client.get("/_matrix/provision/v2/rooms")
        assert other.status == 404


@pytest.mark.asyncio
async def test_guesses_do_not_use_up_the_requests_of_their_address() -> None:
    """Behind a proxy all clients have one address."""
    async with rig() as there:
        for secret in ("wrong", None) * COUNT:
            assert (await there.call("/rooms", secret=secret))[0] == 401
        for _ in range(COUNT):
            assert (await there.call("/rooms"))[0] == 200
        status, headers, answer = await there.call("/rooms")
        assert (status, answer["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert 0 < answer["retry_after_ms"] <= SECONDS * 1000 / COUNT + 1
        assert headers["Retry-After"] == "1"
        assert (await there.call("/rooms", secret="wrong"))[0] == 401
        there.moment[0] += SECONDS / COUNT
        assert (await there.call("/rooms"))[0] == 200


def test_budget_limits_a_burst_and_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: moment[0])
    budget = Budget(4, 8.0)
    for _ in range(4):
        assert budget.take() == 0
    assert budget.take() == pytest.approx(2.0)
    moment[0] = 2.0
    assert budget.take() == 0
    assert budget.take() == pytest.approx(2.0)
    moment[0] = 1e6
    for _ in range(4):
        assert budget.take() == 0
    assert budget.take() > 0


@pytest.mark.asyncio
async def test_strangers_cannot_use_up_the_common_budget_of_all_addresses() -> None:
    async with rig() as there:
        provisioning = Provisioning(section(1, 1.0), there.office.operations, lambda *_: None)
        asked = []
        for number in range(TOGETHER + 2):
            for secret in ("wrong", SECRET):
                request = Asking(f"10.0.{secret == SECRET:d}.{number}", secret)
                response = await provisioning.handle(request)  # type: ignore[arg-type]
                asked.append(response.status)
        assert asked == [*[401, 200] * TOGETHER, *[401, 429] * 2]


class Asking:
    """A fake request from any address."""

    method = "GET"
    content_length = 0

    def __init__(self, remote: str, secret: str) -> None:
        self.remote = remote
        self.headers = {"Authorization": f"Bearer {secret}"}

    @property
    def rel_url(self) -> Asking:
        return self

    raw_path = f"{PREFIX}/health"
    query: dict[str, str] = {}

    @property
    def content(self) -> Asking:
        return self

    async def readany(self) -> bytes:
        return b""


@pytest.mark.asyncio
async def test_actor_of_a_change_is_named_by_a_header() -> None:
    async with rig() as there:
        path, order = f"/rooms/{ROOM.replace(':', '%3A')}/orders", b'{"words": "pause"}'
        assert (await there.call(path, "POST", body=order))[0] == 202
        again = b'{"words": "resume"}'
        assert (await there.call(path, "POST", body=again, X_Actor="crm (Ann)"))[0] == 202
        for claim in ("a" * 201, "a\tb"):
            status, _, answer = await there.call(path, "POST", body=order, X_Actor=claim)
            assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
        _, _, told = await there.call("/changes")
        assert [one["actor"] for one in told["changes"]] == ["api:crm (Ann)", "api"]


@pytest.mark.asyncio
async def test_long_bodies_are_not_read() -> None:
    async with rig() as there:
        path = f"/rooms/{ROOM}/orders"
        status, _, answer = await there.call(path, "POST", body=b"x" * (LONGEST_BODY + 1))
        assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")


@pytest.mark.asyncio
async def test_client_that_waits_for_permission_to_send_a_body_is_answered() -> None:
    async with rig() as there, asyncio.timeout(5):
        sent = there.client.post(
            f"{PREFIX}/rooms/{ROOM}/orders",
            data=b'{"words": "pause"}',
            headers={"Authorization": f"Bearer {SECRET}"},
            expect100=True,
        )
        async with sent as response:
            assert response.status == 202


@pytest.mark.asyncio
async def test_the_document_is_served_and_methods_are_named() -> None:
    async with rig() as there:
        assert (await there.call("/openapi.json"))[2] == document()
        status, headers, _ = await there.call("/rooms", "DELETE")
        assert (status, headers["Allow"]) == (405, "GET")
