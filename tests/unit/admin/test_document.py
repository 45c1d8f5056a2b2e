"""The OpenAPI document: current, complete, and true of the running API (schemathesis)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import schemathesis
from aiohttp.test_utils import RawTestServer
from hypothesis import HealthCheck, Phase, assume, settings
from schemathesis import Case

from bridge.admin.operations import OPERATIONS
from bridge.admin.provisioning import PREFIX, Provisioning
from tests.support import api_table
from tests.support.api_table import document
from tests.unit.admin.office import office
from tests.unit.admin.test_provisioning import SECRET, section

EXAMPLES = int(os.environ.get("API_EXAMPLES", "30"))
"""Number of generated examples per operation."""


def test_the_files_are_current() -> None:
    """They are what `python -m tests.support.api_table` writes."""
    for copy, indent in api_table.DOCUMENTS.items():
        assert copy.read_text(encoding="utf-8") == api_table.openapi(indent)
    assert api_table.PAGE.read_text(encoding="utf-8") == api_table.page()


def test_every_operation_is_described() -> None:
    found = document()
    described = {
        (method.upper(), path): one
        for path, methods in found["paths"].items()
        for method, one in methods.items()
    }
    assert set(described) == {(one.method, one.path) for one in OPERATIONS}
    for one in described.values():
        assert one["summary"].endswith((".", "here."))
        assert all(ref["schema"] for ref in one["parameters"])
    for name, schema in found["components"]["schemas"].items():
        assert schema["description"].endswith("."), name


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The API of a bridge in memory, served by a thread of its own."""
    began: list[str] = []
    loop = asyncio.new_event_loop()
    ready = asyncio.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async with office() as there:
            api = Provisioning(section(10**6, 1), there.operations, lambda *_: None)
            async with RawTestServer(api.handle) as server:
                began.append(str(server.make_url(PREFIX)))
                ready.set()
                await stop.wait()

    thread = Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(ready.wait(), loop).result(10)
    yield began[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def is_sent(value: object) -> bool:
    """False for a parameter that HTTP clients leave out."""
    values = list(value) if isinstance(value, list | dict) else [value]
    return any(one is not None for one in values)


schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_does_as_the_document_says(case: Case[Any], base_url: str) -> None:
    # A query cannot express an empty list or null.
    assume(all(map(is_sent, (case.query or {}).values())))
    case.call_and_validate(base_url=base_url, headers={"Authorization": f"Bearer {SECRET}"})
