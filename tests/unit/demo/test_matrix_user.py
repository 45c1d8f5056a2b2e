"""The customer's client against a stub homeserver."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.matrix_user import Customer, CustomerError


@pytest.mark.asyncio
async def test_upload_of_a_large_file_gives_no_warning_and_a_refusal_raises() -> None:
    """aiohttp warns of a body of more than 1 MiB in one piece, and warnings are errors here."""

    async def take(request: web.Request) -> web.Response:
        if request.query["filename"] == "no.bin":
            return web.json_response({"errcode": "M_TOO_LARGE", "error": "no"}, status=413)
        return web.json_response({"content_uri": f"mxc://here/{len(await request.read())}"})

    application = web.Application(client_max_size=4 * 1024**2)
    application.router.add_post("/_matrix/media/v3/upload", take)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        address = str(server.make_url("")).rstrip("/")
        customer = Customer(session, address, "@ada:localhost", "secret")
        large = bytes(2 * 1024**2)
        said = await customer.upload(large, "large.bin", "application/octet-stream")
        assert said == {"url": f"mxc://here/{len(large)}"}
        with pytest.raises(CustomerError, match="413 M_TOO_LARGE no"):
            await customer.upload(b"x", "no.bin", "application/octet-stream")
