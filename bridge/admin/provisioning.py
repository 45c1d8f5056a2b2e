"""The provisioning API: the operations at `/_matrix/provision/v1`, for holders of the secret.

It is served on the appservice port. A request passes three checks:

- The secret, compared in constant time. It is too long to be guessed (`loading.LEAST_SECRET`), so
  wrong ones are not limited: behind a proxy, where all clients are one address, the limit would
  shut out those that know it.
- A token bucket per address, refilled at `provisioning.rate`.
- A token bucket of all addresses, `TOGETHER` times as large.

Its OpenAPI 3.1 document, `openapi.json`, follows from the table of operations:
`python -m tests.support.api_table` writes it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from importlib import resources
from time import monotonic

import structlog
from aiohttp import web
from cachetools import LRUCache

from bridge.admin.operations import LONGEST_BODY, Dispatcher, Outcome, Request, refused
from bridge.admin.views import ApiError, Caller
from bridge.config import model

PREFIX = "/_matrix/provision/v1"
DOCUMENT = "/openapi.json"
TOGETHER = 4
ADDRESSES = 4096
"""Maximum number of addresses whose budget is cached."""
LONGEST_ACTOR = 200
"""Maximum characters of `X-Actor`."""
WARN_EVERY = 10.0
"""Minimum seconds between two log lines about a wrong secret."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.admin")
_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class Budget:
    """Token bucket of `count` tokens that refills within `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count, self._each = count, seconds / count
        self._full_at = 0.0
        """When the bucket will be full again, on the monotonic clock."""

    def take(self) -> float:
        """Take a token and return 0; return the seconds until one is available if none is."""
        now = monotonic()
        wait = max(0.0, self._full_at - now - self._each * (self._count - 1))
        if not wait:
            self._full_at = max(self._full_at, now) + self._each
        return wait


class Provisioning:
    """HTTP handler of the requests below `PREFIX`."""

    def __init__(
        self, section: model.Provisioning, dispatcher: Dispatcher, count: Callable[[str, int], None]
    ) -> None:
        """`count` is called with each operation and HTTP status."""
        self._secret = section.secret.get_secret_value().encode()
        self._count, self._seconds = section.rate.count, section.rate.per_seconds
        self._dispatcher, self._counted = dispatcher, count
        self._together = Budget(TOGETHER * self._count, self._seconds)
        self._budgets: LRUCache[str, Budget] = LRUCache(ADDRESSES)
        self._quiet_until = 0.0
        self._document = (resources.files("bridge.admin") / "openapi.json").read_bytes()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        try:
            self._authorise(request)
            outcome = await self._answer(request)
        except ApiError as error:
            outcome = refused(error)
        self._counted(outcome.operation or "none", outcome.status)
        headers = {**_HEADERS, **outcome.headers}
        return web.Response(status=outcome.status, body=outcome.body, headers=headers)

    def _authorise(self, request: web.BaseRequest) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            sentence = "Send the header `Authorization: Bearer <provisioning.secret>`."
            raise ApiError(401, "M_MISSING_TOKEN", sentence)
        known = given.strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(known, self._secret):
            if (now := monotonic()) >= self._quiet_until:
                self._quiet_until = now + WARN_EVERY
                _LOG.warning("provisioning call with a wrong secret", remote=request.remote)
            raise ApiError(401, "M_UNKNOWN_TOKEN", "The provisioning.secret is wrong.")
        full = Budget(self._count, self._seconds)
        for budget in self._budgets.setdefault(request.remote or "", full), self._together:
            if wait := budget.take():
                sentence = "Too many requests; try again after retry_after_ms (provisioning.rate)."
                raise ApiError(429, "M_LIMIT_EXCEEDED", sentence, round(wait * 1000) + 1)

    async def _answer(self, request: web.BaseRequest) -> Outcome:
        path = request.rel_url.raw_path.removeprefix(PREFIX)
        if path == DOCUMENT and request.method == "GET":
            return Outcome(200, self._document, "get_document")
        caller = Caller(_actor(request.headers.get("X-Actor", "")), "api")
        query = list(request.rel_url.query.items())
        asked = Request(request.method, path, query, await _read(request))
        return await self._dispatcher.carry_out(asked, caller)


def _actor(claim: str) -> str:
    """Return the actor for the audit trail: `api`, with the caller's unverified claim if any."""
    claim = claim.strip()
    if len(claim) > LONGEST_ACTOR or not claim.isprintable():
        sentence = f"X-Actor must be printable and at most {LONGEST_ACTOR} characters long."
        raise ApiError(400, "M_INVALID_PARAM", sentence)
    return f"api:{claim}" if claim else "api"


async def _read(request: web.BaseRequest) -> bytes:
    """Read the body; ApiError (413) if it is longer than LONGEST_BODY."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body, length = bytearray(), request.content_length or 0
    while max(length, len(body)) <= LONGEST_BODY:
        if not (chunk := await request.content.readany()):
            return bytes(body)
        body += chunk
    raise ApiError(413, "M_TOO_LARGE", f"The body is longer than {LONGEST_BODY} bytes.")
