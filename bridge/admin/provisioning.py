"""The provisioning API: the operations at `/_matrix/provision/v1`, for holders of the secret.

It is served on the appservice port. A request passes three checks:

- A token bucket per address, refilled at `provisioning.rate`. A wrong secret costs `GUESS` tokens;
  while the bucket is empty no secret is compared. Behind a proxy all clients are one address.
- The secret, compared in constant time.
- A token bucket of all addresses, `TOGETHER` times as large. Only requests with the right secret
  draw from it, so that strangers cannot empty it.

Its OpenAPI 3.1 document follows from the table of operations; `python -m tests.support.api_table`
writes it to docs/openapi.json.
"""

from __future__ import annotations

import ast
import hmac
import inspect
import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from time import monotonic
from typing import Any

import msgspec
import structlog
from aiohttp import web
from cachetools import LRUCache

from bridge import __version__
from bridge.admin import shapes
from bridge.admin.operations import (
    LONGEST_BODY,
    OPERATIONS,
    Dispatcher,
    Operation,
    Outcome,
    Request,
    refused,
)
from bridge.admin.shapes import Trouble
from bridge.admin.views import ApiError, Caller

PREFIX = "/_matrix/provision/v1"
DOCUMENT = "/openapi.json"
GUESS = 20
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

    def __init__(self, count: int, seconds: float, now: Callable[[], float]) -> None:
        self._count, self._each, self._now = count, seconds / count, now
        self._full_at = 0.0
        """When the bucket will be full again, on the clock `now`."""

    def wait(self) -> float:
        """Return the seconds until a token is available; 0 if one is."""
        return max(0.0, self._full_at - self._now() - self._each * (self._count - 1))

    def spend(self, number: int = 1) -> None:
        self._full_at = max(self._full_at, self._now()) + self._each * number


class Provisioning:
    """HTTP handler of the requests below `PREFIX`."""

    def __init__(
        self,
        secret: str,
        rate: tuple[int, float],
        dispatcher: Dispatcher,
        counted: Callable[[str, int], None],
        now: Callable[[], float] = monotonic,
    ) -> None:
        """`rate`: requests and seconds; `counted` is called with each operation and HTTP status."""
        self._secret, self._rate, self._now = secret.encode(), rate, now
        self._dispatcher, self._counted = dispatcher, counted
        count, seconds = rate
        self._together = Budget(TOGETHER * count, seconds, now)
        self._budgets: LRUCache[str, Budget] = LRUCache(ADDRESSES)
        self._quiet_until = 0.0
        self._document = json.dumps(document()).encode()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        try:
            self._authorise(request)
            outcome = await self._answer(request)
        except ApiError as error:
            outcome = refused(error)
            wait = error.retry_after_ms
            headers = {"Retry-After": str(wait // 1000 + 1)} if wait else {}
        else:
            headers = {"Allow": ", ".join(outcome.allow)} if outcome.allow else {}
        self._counted(outcome.operation or "none", outcome.status)
        return web.Response(
            status=outcome.status, body=outcome.body, headers={**_HEADERS, **headers}
        )

    def _authorise(self, request: web.BaseRequest) -> None:
        full = Budget(*self._rate, self._now)
        budget = self._budgets.setdefault(request.remote or "", full)
        if (wait := budget.wait()) > 0:
            raise _too_many(wait)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            budget.spend()
            sentence = "Send the header `Authorization: Bearer <provisioning.secret>`."
            raise ApiError(401, "M_MISSING_TOKEN", sentence)
        known = given.strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(known, self._secret):
            budget.spend(GUESS)
            self._warn(request.remote)
            raise ApiError(401, "M_UNKNOWN_TOKEN", "The provisioning.secret is wrong.")
        budget.spend()
        if (wait := self._together.wait()) > 0:
            raise _too_many(wait)
        self._together.spend()

    def _warn(self, remote: str | None) -> None:
        if (now := self._now()) >= self._quiet_until:
            self._quiet_until = now + WARN_EVERY
            _LOG.warning("provisioning call with a wrong secret", remote=remote)

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


def _too_many(wait: float) -> ApiError:
    sentence = "Too many requests; try again after retry_after_ms (provisioning.rate)."
    return ApiError(429, "M_LIMIT_EXCEEDED", sentence, round(wait * 1000) + 1)


async def _read(request: web.BaseRequest) -> bytes:
    """Read the body; ApiError (413) if it is longer than LONGEST_BODY."""
    body, told = bytearray(), request.content_length or 0
    while max(told, len(body)) <= LONGEST_BODY:
        if not (chunk := await request.content.readany()):
            return bytes(body)
        body += chunk
    raise ApiError(413, "M_TOO_LARGE", f"The body is longer than {LONGEST_BODY} bytes.")


# --- OpenAPI --------------------------------------------------------------------------------------

Json = dict[str, Any]
_ERRORS = {
    "400": "The request is invalid; `error` says why.",
    "401": "The secret is missing or wrong.",
    "403": "The caller may not do this.",
    "404": "The room or other item in the path does not exist.",
    "409": "A current chat or an earlier request is in conflict; `error` says what to do.",
    "413": "The request body is too long.",
    "429": "Too many requests: try again after `retry_after_ms`.",
    "503": "The database is unavailable: try again.",
}
_REF = "#/components/schemas/{name}"


def document() -> Json:
    intro = " ".join((inspect.getdoc(shapes) or "").rpartition("\n\n")[2].split())
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "matrix-webchat-bridge: provisioning API",
            "version": __version__,
            "description": f"Generated from bridge/admin/operations.py. {intro}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/_matrix/provision/v1"}],
        "security": [{"secret": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "secret": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`provisioning.secret` of the configuration.",
                }
            },
            "responses": {
                status: {"description": text, "content": _json({"$ref": _ref(Trouble)})}
                for status, text in _ERRORS.items()
            },
        },
    }


def _operation(one: Operation) -> Json:
    fields = _properties(one.asked)
    described: Json = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [one.path.split("/")[1]],
        "responses": {
            str(one.status): {
                "description": inspect.getdoc(one.answer),
                "content": _json({"$ref": _ref(one.answer)}),
            },
            **{
                status: {"$ref": f"#/components/responses/{status}"}
                for status in _ERRORS
                if status != "403" and (status != "404" or one.in_path)
                if (status != "413" or one.has_body) and (status != "409" or one.status == 202)
            },
        },
    }
    if one.audited:
        described["description"] = "Recorded in the audit trail with its author (`X-Actor`)."
    described["parameters"] = [
        *(_parameter(name, "path", fields) for name in one.in_path),
        *(() if one.has_body else (_parameter(name, "query", fields) for name in one.beside)),
    ]
    if one.audited:
        claim = {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"}
        told = "Name of the person behind the request, for the audit trail; it is not verified."
        actor = {"name": "X-Actor", "in": "header", "description": told, "schema": claim}
        described["parameters"].append(actor)
    if one.has_body:
        described["requestBody"] = {"required": True, "content": _json(_body(one, fields))}
    return described


def _parameter(name: str, place: str, fields: Json) -> Json:
    schema = dict(fields[name])
    described: Json = {"name": name, "in": place, "required": place == "path"}
    if text := schema.pop("description", ""):
        described["description"] = text
    return {**described, "schema": schema}


def _body(one: Operation, fields: Json) -> Json:
    return {
        "type": "object",
        "properties": {name: fields[name] for name in one.beside},
        "required": [name for name in one.beside if "default" not in fields[name]],
        "additionalProperties": False,
    }


def _properties(kind: type[msgspec.Struct]) -> Json:
    """Return a struct's fields as JSON Schema by name, with their docstrings."""
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    found: Json = _described(components[kind.__name__], kind)["properties"]
    return found


def _schemas() -> Json:
    """Return the schemas of all answers by the name of their struct."""
    answers = [*dict.fromkeys(one.answer for one in OPERATIONS), Trouble]
    _, components = msgspec.json.schema_components(answers, ref_template=_REF)
    return {
        name: _described(schema, getattr(shapes, name))
        for name, schema in sorted(components.items())
    }


def _described(schema: Json, kind: type[msgspec.Struct]) -> Json:
    """Add the field docstrings to a struct's schema as descriptions."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        texts |= _docstrings().get(one.__name__, {})
    encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    for name, text in texts.items():
        if encoded.get(name) in schema["properties"]:
            schema["properties"][encoded[name]]["description"] = text
    schema.pop("title", None)
    if "description" in schema:  # a docstring, still indented before Python 3.13
        schema["description"] = inspect.cleandoc(schema["description"])
    return schema


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """Return the field docstrings of each struct in `shapes`."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(shapes)).body:
        if isinstance(node, ast.ClassDef):
            fields = found[node.name] = {}
            for pair in pairwise(node.body):
                match pair:
                    case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        fields[name] = inspect.cleandoc(text)
                    case _:
                        pass
    return found


def _ref(kind: type) -> str:
    return _REF.format(name=kind.__name__)


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
