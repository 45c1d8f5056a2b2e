"""The mapping from the operator's config to the settings of each ring, and the secrets in between.

Customers' passwords are sealed: the rooms ring locks them and the link ring opens them, by a
function each. The box is the one of encryption's keys, under the operator's secret; each password
is bound to its room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from msgspec.structs import replace
from pydantic import SecretStr

from bridge.config import Config
from bridge.config.hours import parse_hours
from bridge.config.model import permission_of
from bridge.config.reloading import leaves
from bridge.conversation.policy import Policy
from bridge.ids import QueueId, RoomId
from bridge.link.learnt import Feature, Learnt
from bridge.link.login import room_key
from bridge.link.settings import FRAME_OVERHEAD, LinkSettings
from bridge.matrix.crypto.vault import Sealer, derive
from bridge.matrix.registration import Registration, make_registration
from bridge.matrix.users import OurUsers
from bridge.rooms.rules import Rules
from bridge.texts import Texts

FIRST = "enterprise.first"
"""The fact that tells which enterprise was the first: rooms and facts without a name are its."""


def home_of(config: Config, first: str) -> str:
    """The enterprise of rooms without a name, and of those of the first one; see `FIRST`."""
    return first if config.enterprises else ""


def all_users_of(config: Config) -> dict[str, OurUsers]:
    """Our users, as each enterprise sees them. Raises NameTaken."""
    users = [
        OurUsers(
            part.homeserver.domain,
            part.appservice.bot.username,
            part.bridge.username_template,
            [QueueId(queue.id) for queue in part.queues],
            part.bridge.queue_username_template,
            enterprise=enterprise,
        )
        for enterprise, part in config.parts().items()
    ]
    return OurUsers.several(users, config.appservice.bot.username)


def users_of(config: Config) -> OurUsers:
    """The same as the first or only enterprise sees them."""
    return next(iter(all_users_of(config).values()))


def tokens_of(config: Config) -> dict[str, str]:
    """The tokens of the configuration, empty where it has none."""
    return {
        "as_token": config.appservice.as_token.get_secret_value(),
        "hs_token": config.appservice.hs_token.get_secret_value(),
    }


def registration_of(config: Config, tokens: Mapping[str, str]) -> Registration:
    users, ours = users_of(config), config.appservice
    return make_registration(appservice_id=ours.id, url=ours.address, users=users, **tokens)


def all_rules_of(
    config: Config,
    users: Mapping[str, OurUsers] | None = None,
    learnt: Mapping[str, Learnt] | None = None,
    first: str = "",
) -> dict[str, Rules]:
    """The rules of every enterprise, which know one another; `first`: see `FIRST`."""
    made: dict[str, Rules] = {}
    home = home_of(config, first)
    users, learnt = users or all_users_of(config), learnt or {}
    bots = Counter(one.bot for one in users.values())
    for name, part in config.parts().items():
        ours = users[name]
        choices = [one for one in users if users[one].bot == ours.bot]
        made[name] = replace(
            rules_of(part, ours, learnt.get(name), "" if name == first else name),
            enterprise=name,
            choices=tuple(choices) if bots[ours.bot] > 1 else (),
            enterprises_of=ours.enterprises_of,
            rules_of=lambda one: made.get(home if one in {"", first} else one),
        )
    return made


def rules_of(
    config: Config, users: OurUsers, learnt: Learnt | None = None, mark: str = ""
) -> Rules:
    """The rules of the rooms ring; what fits into a frame is as the link has learnt it.

    `config` is of one enterprise, in the short form; `mark`: of its secrets.
    """
    server, bridge = config.server, config.bridge
    secret = encryption_secret_of(config)
    return Rules(
        bot=users.bot,
        bot_name=config.appservice.bot.displayname,
        queues=config.queues,
        default_queue=QueueId(config.default_queue),
        permission=partial(permission_of, bridge.permissions),
        queue_of_user=users.queue_of,
        prefix=bridge.command_prefix,
        language=bridge.language,
        start=bridge.start,
        source=server.source,
        limits=bridge.limits,
        # Without the operator's secret, which the rooms are not to know.
        encryption=bridge.encryption.model_copy(update={"pickle_key": SecretStr("")}),
        tell=bridge.tell_agents,
        status_events=bridge.message_status_events,
        panel_url=panel_url(config),
        timezone=ZoneInfo(bridge.timezone) if bridge.timezone else None,
        longest_text=None if learnt is None else lambda: learnt.longest_text,
        longest_clip=None if learnt is None else lambda: learnt.longest_clip,
        long_voices=lambda: (
            server.long_voices and learnt is not None and learnt.has(Feature.LONG_VOICE)
        ),
        seal=Passwords(secret).seal if server.login.own_accounts else None,
        login_key=login_keys(secret, mark),
        texts=Texts(config.texts),
        ratings=config.rating.options,
        robot=server.robot.enabled,
        km_base_url=server.robot.km_base_url,
        policy=_policy_of(config),
    )


def panel_url(config: Config) -> str:
    """Address of the room page; empty: none is served where browsers could reach it."""
    console = config.console
    return f"{console.public_url}/room/" if console.enabled and console.public_url else ""


def _policy_of(config: Config) -> Policy:
    """The policy of the life cycle, as far as it is the same in all rooms."""
    server, callback = config.server, config.bridge.callback
    return Policy(
        hours={QueueId(one.id): parse_hours(one.hours) for one in config.queues if one.hours},
        callback=callback.enabled,
        callback_first=callback.retry_first,
        callback_last=callback.retry_last,
        callback_limit=callback.give_up,
        show_comments=server.show_comments,
        brand=server.brand,
        tracks=server.tracks,
        robot=server.robot.mode,
        map=server.map,
        emoji_codes=server.emoji_mode == "qq",
        escape_html=server.escape_outgoing,
        guard_json=server.jsonlib_guard,
        videos=server.videos,
        max_text_bytes=max(200, server.max_frame_bytes - FRAME_OVERHEAD),
    )


def encryption_secret_of(config: Config) -> str:
    """The secret that seals encryption's keys: `pickle_key`, else the as_token."""
    own = config.bridge.encryption.pickle_key.get_secret_value()
    return own or config.appservice.as_token.get_secret_value()


def login_keys(secret: str, mark: str = "") -> Callable[[RoomId], str]:
    """A key derivation: room id -> the key in its login name, which no two enterprises share."""
    label = f"logins {mark}" if mark else "logins"
    return partial(room_key, secret=derive(secret, label.encode()))


def link_settings_of(
    config: Config, enterprise: str = "", mark: str = "", neighbours: int = 1
) -> LinkSettings:
    server, passwords = config.server, Passwords(encryption_secret_of(config))
    return LinkSettings(
        server=server,
        enterprise=enterprise,
        mark=mark,
        neighbours=neighbours,
        unseal=passwords.unseal if server.login.own_accounts else None,
    )


def console_key_of(config: Config) -> bytes:
    """The key that signs links and sessions of the console."""
    return derive(encryption_secret_of(config), b"console")


def secrets_of(config: Config) -> list[str]:
    """Every secret of the config, for the log's redactor."""
    found = [one.get_secret_value() for _, one in leaves(config) if isinstance(one, SecretStr)]
    password = urlsplit(config.database.url.get_secret_value()).password
    return [*found, unquote(password), password] if password else found


class Passwords:
    """Sealed box for customers' passwords, under the operator's secret."""

    def __init__(self, secret: str) -> None:
        self._sealer = Sealer(secret)

    def seal(self, room_id: RoomId, password: str) -> bytes:
        return self._sealer.seal(f"login/{room_id}", password.encode("utf-8", "replace"))

    def unseal(self, room_id: RoomId, sealed: bytes) -> str:
        """Raises StoreError: it was sealed for another room or with another secret."""
        return self._sealer.open(f"login/{room_id}", sealed).decode()
