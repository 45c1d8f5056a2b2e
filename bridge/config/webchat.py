"""The section `webchat` of config.yaml: one WebChat server (an enterprise on it)."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from bridge.config.fields import HttpUrl, Section, template
from bridge.config.units import parse_rate

_KNOWN = frozenset({"room_key", "room_id", "displayname"})

Source = Literal["PC", "MOBILE", "WECHAT", "APP"]


class Dialect(StrEnum):
    """Which revision of the vendor's guide we write; every revision is read."""

    AUTO = "auto"
    Y2016 = "2016"
    Y2019 = "2019"
    DUAL = "dual"


class LoginType(StrEnum):
    """How a room logs in to WebChat."""

    PASSWORD = "password"  # noqa: S105 - the name of a login type (wire type 1), not a secret
    REGISTER = "register"
    VISITOR = "visitor"


class UploadMode(StrEnum):
    RAW = "raw"
    MULTIPART = "multipart"
    AUTO = "auto"


class RobotMode(StrEnum):
    OFF = "off"
    COMMAND = "command"
    FIRST = "first"
    WHEN_NO_AGENT = "when_no_agent"


def _dialect_text(value: object) -> object:
    # YAML reads an unquoted 2016 as a number.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rate_text(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _media_host(value: str) -> str:
    if "/" in value:
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise ValueError("must be host, host:port or a network such as 10.0.0.0/8") from error
    elif not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?", value):
        raise ValueError("must be host, host:port or a network such as 10.0.0.0/8")
    return value


class Login(Section):
    """How rooms log in."""

    type: LoginType = LoginType.REGISTER
    """password (wire type 1) | register (3) | visitor (4)."""
    name: Annotated[str, AfterValidator(template(known=_KNOWN, needed={"room_key", "room_id"}))] = (
        "mx-{room_key}"
    )
    """Login name, with `register` the password too; {room_key} is each room's own, and secret."""
    display_name: Annotated[str, AfterValidator(template(known=_KNOWN))] = "{displayname}"
    """What agents see; {displayname} is the customer's name in Matrix."""
    password: SecretStr = SecretStr("")
    """For type password: of every account that `accounts` does not name."""
    own_accounts: bool = True
    """Customers may log in with an account of their own (commands `login` and `logout`)."""


class AccountEntry(Section):
    """An account that exists on the server."""

    name: Annotated[str, Field(min_length=1), AfterValidator(template(known=_KNOWN))]
    """Its login name; the same placeholders as in login.name."""
    password: SecretStr = SecretStr("")
    """Its password."""


class Robot(Section):
    """The knowledge-base robot."""

    enabled: bool = False
    """The knowledge base may be asked."""
    public_key: SecretStr = SecretStr("")
    """Signs questions to the robot (guide part four)."""
    mode: Annotated[
        RobotMode, BeforeValidator(lambda value: "off" if value is False else value)
    ] = RobotMode.OFF
    """off | command (`ask`) | first (before a person) | when_no_agent (if no agent is there)."""
    km_base_url: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    """Where its articles can be read; empty: answers carry no links."""


class Rate(Section):
    """So many in so long."""

    count: Annotated[int, Field(ge=1)] = 8
    """How many."""
    per_seconds: Annotated[float, Field(gt=0)] = 60
    """In how many seconds."""


class WebChat(Section):
    """The call centre's server."""

    base_url: Annotated[HttpUrl, Field(examples=["https://crm.example.org/webchat"])]
    """The WebChat application; /tpi, /tpiu, /robotSearch and /cws lie below it."""
    enterprise_id: str = ""
    """Wire `epid`; empty if the server has one enterprise."""
    dialect: Annotated[Dialect, BeforeValidator(_dialect_text)] = Dialect.AUTO
    """auto (finds out and remembers; till then dual) | 2016 | 2019 | dual (the keys of both)."""
    source: Annotated[Source, Field(alias="from")] = "APP"
    """PC | MOBILE | WECHAT | APP: the picture of the customer at the agent's desk."""
    login: Login = Login()
    accounts: dict[str, AccountEntry] = {}
    """For type password: room id, user id or pattern -> {name, password}; most specific wins."""
    sign_key: SecretStr = SecretStr("")
    """Key of the `sign` header of logins, when the server wants one."""
    robot: Robot = Robot()
    upload_mode: UploadMode = UploadMode.AUTO
    """raw (the 2016 guide) | multipart | auto (try raw, remember what the server takes)."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = 8000
    """Longest frame we write; longer texts are split. Tomcat's default limit is 8192."""
    map: Literal["baidu", "gaode"] = "baidu"
    """baidu (BD-09) | gaode (AMap, GCJ-02): whose coordinates agents' desks show."""
    emoji_mode: Literal["unicode", "qq"] = "unicode"
    """unicode | qq: faces go as WeChat codes like `/::)`, for desks that draw nothing else."""
    escape_outgoing: bool = False
    """Escape customers' texts as HTML, for desks that show `1 < 2` cut off; else as typed."""
    jsonlib_guard: bool = False
    """Put an invisible space before texts like `[1]`, for servers that put quotes around them."""
    videos: bool = False
    """Send films as messages of type 6, which no guide promises to show; false: as files."""
    login_rate: Annotated[Rate, BeforeValidator(_rate_text)] = Rate()
    """Logins of all rooms together; the server blacklists an address above 10 in 60 s."""
    show_comments: bool = False
    """Tell customers the call centre's notes on its agents (wire `comments`) as they join."""
    allowed_media_hosts: tuple[Annotated[str, AfterValidator(_media_host)], ...] = ()
    """Hosts, host:port or networks beside base_url's own from which agents' files are fetched."""
