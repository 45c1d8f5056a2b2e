"""`compose.yaml` and the image: defaults and settings; and `compose.demo.yaml`, whose parts
`tests/integration/test_demo_compose.py` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace
from ruamel.yaml import YAML

from bridge.app.settings import registration_of, tokens_of
from bridge.config.loading import load_config
from bridge.matrix.users import load_registration
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
BALANCER = ROOT / "docs" / "balancer.conf.template"
HAPROXY = ROOT / "docs" / "haproxy.cfg"
SERVICES: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.yaml")["services"]


def filled_in(value: str, environment: dict[str, str]) -> str:
    """Replace `${NAME:-default}` and `${NAME:?error}` in a value, as compose does."""

    def found(variable: re.Match[str]) -> str:
        name, otherwise, word = variable.groups()
        if otherwise == "?" and not environment.get(name):
            raise LookupError(word)
        return environment.get(name) or word

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", found, value)


def environment_of(service: str, **environment: str) -> dict[str, str]:
    given, known = SERVICES[service]["environment"], {"POSTGRES_PASSWORD": "x"} | environment
    return {name: filled_in(value, known) for name, value in given.items()}


@pytest.mark.parametrize("service", ["matrix-webchat", "postgres"])
def test_the_database_has_no_default_password(service: str) -> None:
    with pytest.raises(LookupError, match="first lines"):
        environment_of(service, POSTGRES_PASSWORD="")


def test_the_bridge_has_no_rights_that_it_does_not_need() -> None:
    service = SERVICES["matrix-webchat"]
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    for one in SERVICES.values():
        assert one["security_opt"] == ["no-new-privileges:true"]
    assert service["environment"]["TMPDIR"] == service["volumes"][0].partition(":")[2] == "/data"


def test_the_bridge_uses_the_postgresql_service() -> None:
    bridge, database = environment_of("matrix-webchat"), environment_of("postgres")
    assert bridge["MATRIX_WEBCHAT_DATABASE__URL"] == "postgres://webchat@postgres/webchat"
    assert database["POSTGRES_USER"] == database["POSTGRES_DB"] == "webchat"
    assert bridge["PGPASSWORD"] == database["POSTGRES_PASSWORD"]
    assert SERVICES["matrix-webchat"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "profiles" not in SERVICES["postgres"]
    # By TCP, as on the socket a temporary server answers while the database is created.
    for postgres in (SERVICES["postgres"], STAGE["services"]["postgres"]):
        assert "-h 127.0.0.1" in " ".join(postgres["healthcheck"]["test"])


def test_a_password_may_hold_any_characters() -> None:
    odd = "p@ss/w:rd#%"
    bridge = environment_of("matrix-webchat", POSTGRES_PASSWORD=odd)
    assert (
        bridge["PGPASSWORD"]
        == environment_of("postgres", POSTGRES_PASSWORD=odd)["POSTGRES_PASSWORD"]
        == odd
    )
    assert odd not in bridge["MATRIX_WEBCHAT_DATABASE__URL"]


def test_the_replicas_differ_in_their_names_only() -> None:
    services = copy.deepcopy(SERVICES)
    first = services["matrix-webchat"]
    balanced = re.findall(r"server ([\w-]+):29340 ", BALANCER.read_text("utf-8"))
    assert balanced == ["matrix-webchat", "matrix-webchat-2", "matrix-webchat-3"]
    assert "profiles" not in first
    assert first["environment"].pop("MATRIX_WEBCHAT_BRIDGE__REPLICA") == "1"
    for name in (*balanced[1:], "balancer"):
        assert services[name]["profiles"] == ["replicas"]
    for name in balanced[1:]:
        own = services[name]
        for key in ("image", "volumes", "depends_on", "stop_grace_period", "restart"):
            assert own[key] == first[key]
        replica = own["environment"].pop("MATRIX_WEBCHAT_BRIDGE__REPLICA")
        assert replica == name[-1]
        assert own["environment"] == first["environment"]
    mounted = services["balancer"]["volumes"][0].split(":")[0]
    assert (ROOT / mounted).is_file()


def nginx_configuration(folder: Path, port: int, bridges: list[int]) -> str:
    """Return a whole configuration: the template, edited as its first lines say."""
    template = re.sub("zone .*|resolver .*| resolve(?= )", "", BALANCER.read_text("utf-8"))
    own = template.replace("listen 29340", f"listen 127.0.0.1:{port}")
    for bridge in bridges:
        own = re.sub(r"server [\w-]+:29340", f"server 127.0.0.1:{bridge}", own, count=1)
    paths = "".join(
        f"{kind}_temp_path {folder / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    always = f"daemon off; master_process off; pid {folder / 'pid'}; error_log stderr;"
    return f"{always} events {{}} http {{ access_log off; {paths} {own} }}"


def haproxy_configuration(port: int, bridges: list[int]) -> str:
    own = HAPROXY.read_text("utf-8").replace(":29340", f":{port}")
    for number, bridge in enumerate(bridges, 29341):
        own = own.replace(f":{number}", f":{bridge}")
    return own


@pytest.mark.asyncio
@pytest.mark.parametrize("program", ["nginx", "haproxy"])
async def test_bridges_that_are_not_ready_get_transactions_from_the_balancer(
    tmp_path: Path, program: str
) -> None:
    """Skipped without the program. Asking whether they are ready must not keep the homeserver
    away.
    """
    balancer = shutil.which(program)
    if balancer is None:
        pytest.skip(f"no {program}")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503 if request.path.endswith("/ready") else 200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port, *bridges = (free_port() for _ in range(4))
    for bridge in bridges:
        await web.TCPSite(runner, "127.0.0.1", bridge).start()
    file = tmp_path / "balancer.conf"
    if program == "nginx":
        file.write_text(nginx_configuration(tmp_path, port, bridges))
        options = ["-e", "stderr", "-c"]
    else:
        file.write_text(haproxy_configuration(port, bridges))
        options = ["-db", "-f"]
    process = await asyncio.create_subprocess_exec(balancer, *options, str(file))
    url = f"http://127.0.0.1:{port}/_matrix"
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            while True:
                assert process.returncode is None, file.read_text()
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    await (await session.get(f"{url}/mau/live")).read()
                    break
                await asyncio.sleep(0.02)
            for _ in range(4):
                async with session.get(f"{url}/mau/ready") as asked:
                    assert asked.status == 503
                async with session.put(f"{url}/app/v1/transactions/1", json={}) as taken:
                    assert taken.status == 200
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await runner.cleanup()


def test_another_database_can_be_set() -> None:
    file = "sqlite:////data/bridge.db"
    assert (
        environment_of("matrix-webchat", DATABASE_URL=file)["MATRIX_WEBCHAT_DATABASE__URL"] == file
    )


def test_the_image_is_labelled_with_version_revision_and_source() -> None:
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stage = recipe.partition("AS build")[2].partition("\nFROM ")[2]
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in ("version", "revision", "source"):
        assert f'org.opencontainers.image.{name}="${name.upper()}"' in stage
        assert f'{name.upper()}=""' in stage.partition("LABEL")[0], "an argument of this stage"
    assert "--build-arg VERSION=$(shell" in made
    assert "--build-arg REVISION=$(shell" in made


# --- compose.demo.yaml ---------------------------------------------------------------------------

STAGE: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.demo.yaml")
OURS = {"setup", "simulator", "matrix-webchat"}


def test_the_demo_listens_on_localhost_only_and_has_no_secret_in_git() -> None:
    services = STAGE["services"]
    ports = [port for one in services.values() for port in one.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for one in services.values():
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert ":latest" not in one["image"]
        assert not [name for name in one.get("environment", ()) if name.endswith("PASSWORD")]
    # Separate from the operator's own installation: other project, other volumes, no ./data.
    assert STAGE["name"] != YAML(typ="safe").load(ROOT / "compose.yaml")["name"]
    mounts = [mount for one in services.values() for mount in one.get("volumes", ())]
    assert {mount.split(":")[0] for mount in mounts} == {
        *("demo", "postgres", "./deploy/demo", "./deploy/demo/element.json")
    }


def test_the_demos_image_is_built_once_and_never_fetched() -> None:
    services = STAGE["services"]
    assert {name for name, one in services.items() if "build" in one} == {"setup"}
    for name in OURS:
        assert services[name]["image"] == "matrix-webchat-bridge"
        assert name == "setup" or services[name]["pull_policy"] == "never"


def test_the_demo_starts_in_order() -> None:
    """Services that read files of `setup` wait for it, directly or indirectly."""
    services = STAGE["services"]

    def waits(name: str) -> set[str]:
        before = set(services[name].get("depends_on", ()))
        return before | {further for one in before for further in waits(one)}

    for name, one in services.items():
        if any(mount.startswith("demo:") for mount in one.get("volumes", ())):
            assert name == "setup" or "setup" in waits(name)
    assert {"synapse", "postgres", "simulator"} <= waits("matrix-webchat") <= waits("welcome")


def test_the_demos_setup_names_the_services_and_keeps_its_secrets(tmp_path: Path) -> None:
    path, runs = f"{Path(sys.executable).parent}:{os.environ['PATH']}", []
    for _ in range(2):
        subprocess.run(  # noqa: S603 - our own
            ["/bin/sh", ROOT / "deploy/demo/setup.sh"],
            env={"PATH": path, "DATA": str(tmp_path)},
            check=True,
            capture_output=True,
        )
        made = {file: file.read_text("utf-8") for file in tmp_path.rglob("*") if file.is_file()}
        assert len(made) == 5
        assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}
        config = load_config(tmp_path / "config.yaml", {})
        wanted = registration_of(config, tokens_of(config))
        registered = load_registration(tmp_path / "registration.yaml")
        assert replace(registered, sender_localpart="") == replace(wanted, sender_localpart="")
        for url in (config.homeserver.address, config.appservice.address, config.webchat.base_url):
            assert str(urlsplit(url).hostname) in STAGE["services"]
        (origin,) = re.findall(
            r"public_origin=(\S+)", STAGE["services"]["simulator"]["command"][-1]
        )
        assert config.webchat.base_url == f"{origin}/webchat"
        password = made[tmp_path / "postgres-password"]
        database = config.database.url.get_secret_value()
        assert database == f"postgres://webchat:{password}@postgres/webchat"
        homeserver = YAML(typ="safe").load(tmp_path / "synapse/homeserver.yaml")
        assert homeserver["app_service_config_files"] == [str(tmp_path / "registration.yaml")]
        assert homeserver["server_name"] == config.homeserver.domain
        runs.append(made)
    assert runs[0] == runs[1]
