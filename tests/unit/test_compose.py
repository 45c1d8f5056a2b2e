"""`compose.yaml` and the image: what an operator gets who sets nothing, and what may be set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.yaml")["services"]


def filled_in(value: str, environment: dict[str, str]) -> str:
    """A value with `${NAME:-default}` and `${NAME:?error}` replaced, as compose does it."""

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
def test_no_password_is_known_to_everybody(service: str) -> None:
    with pytest.raises(LookupError, match="first lines"):
        environment_of(service, POSTGRES_PASSWORD="")


def test_the_bridge_has_no_rights_that_it_does_not_need() -> None:
    service = SERVICES["matrix-webchat"]
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    for one in SERVICES.values():
        assert one["security_opt"] == ["no-new-privileges:true"]
    assert service["environment"]["TMPDIR"] == service["volumes"][0].partition(":")[2] == "/data"


def test_the_bridge_uses_the_postgresql_beside_it() -> None:
    bridge, database = environment_of("matrix-webchat"), environment_of("postgres")
    assert bridge["MATRIX_WEBCHAT_DATABASE__URL"] == "postgres://webchat@postgres/webchat"
    assert database["POSTGRES_USER"] == database["POSTGRES_DB"] == "webchat"
    assert bridge["PGPASSWORD"] == database["POSTGRES_PASSWORD"]
    assert SERVICES["matrix-webchat"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "profiles" not in SERVICES["postgres"]


def test_a_password_may_hold_any_characters() -> None:
    odd = "p@ss/w:rd#%"
    bridge = environment_of("matrix-webchat", POSTGRES_PASSWORD=odd)
    assert (
        bridge["PGPASSWORD"]
        == environment_of("postgres", POSTGRES_PASSWORD=odd)["POSTGRES_PASSWORD"]
        == odd
    )
    assert odd not in bridge["MATRIX_WEBCHAT_DATABASE__URL"]


def test_three_that_share_the_rooms_differ_in_their_names_only() -> None:
    first = SERVICES["matrix-webchat"]
    balanced = re.findall(
        r"server ([\w-]+):29340 ", (ROOT / "docs/balancer.conf.template").read_text("utf-8")
    )
    assert balanced == ["matrix-webchat", "matrix-webchat-2", "matrix-webchat-3"]
    assert "profiles" not in first
    assert first["environment"].pop("MATRIX_WEBCHAT_BRIDGE__REPLICA") == "1"
    for name in (*balanced[1:], "balancer"):
        assert SERVICES[name]["profiles"] == ["replicas"]
    for name in balanced[1:]:
        own = SERVICES[name]
        for key in ("image", "volumes", "depends_on", "stop_grace_period", "restart"):
            assert own[key] == first[key]
        replica = own["environment"].pop("MATRIX_WEBCHAT_BRIDGE__REPLICA")
        assert replica == name[-1]
        assert own["environment"] == first["environment"]
    mounted = SERVICES["balancer"]["volumes"][0].split(":")[0]
    assert (ROOT / mounted).is_file()


def test_another_database() -> None:
    file = "sqlite:////data/bridge.db"
    assert (
        environment_of("matrix-webchat", DATABASE_URL=file)["MATRIX_WEBCHAT_DATABASE__URL"] == file
    )


def test_the_image_says_what_it_is_made_of() -> None:
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stage = recipe.partition("AS build")[2].partition("\nFROM ")[2]
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in ("version", "revision", "source"):
        assert f'org.opencontainers.image.{name}="${name.upper()}"' in stage
        assert f'{name.upper()}=""' in stage.partition("LABEL")[0], "an argument of this stage"
    assert "--build-arg VERSION=$(shell" in made
    assert "--build-arg REVISION=$(shell" in made
