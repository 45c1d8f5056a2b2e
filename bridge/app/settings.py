"""Mapping from the operator's config to the settings of each ring, and keys derived from secrets.

Customers' passwords are stored sealed (`Passwords`): the rooms ring gets only the function that
seals them, the link ring only the one that unseals. They are sealed like encryption's keys, with
the operator's secret, and each is bound to its room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from msgspec.structs import replace
from pydantic import SecretStr

from bridge.config.hours import parse_hours
from bridge.config.loading import leaves
from bridge.config.model import Config, permission_of
from bridge.conversation.turn import Policy
from bridge.ids import QueueId, RoomId
from bridge.link.login import room_key
from bridge.link.settings import Feature, Learnt, LinkSettings
from bridge.matrix.crypto.vault import Sealer, derive
from bridge.matrix.users import OurUsers, Registration, make_registration
from bridge.rooms.rules import Rules, folded
from bridge.texts import Texts

FIRST = "enterprise.first"
"""Stored fact: the first enterprise, which owns the rooms and facts without an enterprise name."""


def named(config: Config, first: str, enterprise: str) -> str:
    """Return the configured name of a room's stored enterprise name; `first`: see `FIRST`."""
    if enterprise not in {"", first}:
        return enterprise
    return first if config.enterprises else ""


def all_users_of(config: Config) -> dict[str, OurUsers]:
    """Return the bridge users as each enterprise sees them, by enterprise. Raises NameTaken."""
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
    """Return the bridge users as the first (or only) configured enterprise sees them."""
    return next(iter(all_users_of(config).values()))


def tokens_of(config: Config) -> dict[str, str]:
    """Return as_token and hs_token of the config; "" if unset."""
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
    """Return the rules of each enterprise, linked with one another; `first`: see `FIRST`."""
    made: dict[str, Rules] = {}
    users, learnt = users or all_users_of(config), learnt or {}
    bots = Counter(part.bot for part in users.values())
    prefixes = {folded(part.bridge.command_prefix) for part in config.parts().values()}
    for name, part in config.parts().items():
        ours = users[name]
        choices = [name for name in users if users[name].bot == ours.bot]
        made[name] = replace(
            rules_of(part, ours, learnt.get(name), "" if name == first else name),
            enterprise=name,
            choices=tuple(choices) if bots[ours.bot] > 1 else (),
            other_prefixes=tuple(prefixes - {folded(part.bridge.command_prefix)}),
            enterprises_of=ours.enterprises_of,
            rules_of=lambda name: made.get(named(config, first, name)),
        )
    return made


def rules_of(
    config: Config, users: OurUsers, learnt: Learnt | None = None, mark: str = ""
) -> Rules:
    """Return one enterprise's rules for the rooms ring; frame limits are those the link has learnt.

    `config` is the enterprise's part (`Config.parts`); `mark` distinguishes its derived keys.
    """
    server, bridge = config.webchat, config.bridge
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
        limits=bridge.limits,
        # Without the operator's secret, which the rooms ring must not know.
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
    """Return the room page's URL; "" if the console is off or has no public URL."""
    console = config.console
    return f"{console.public_url}/room/" if console.enabled and console.public_url else ""


def _policy_of(config: Config) -> Policy:
    """Return the part of the conversation policy that is the same in all rooms."""
    server, callback = config.webchat, config.bridge.callback
    return Policy(
        source=server.source,
        hours={
            QueueId(queue.id): parse_hours(queue.hours) for queue in config.queues if queue.hours
        },
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
    )


def encryption_secret_of(config: Config) -> str:
    """Return the secret that seals keys: `encryption.pickle_key`, or the as_token if unset."""
    own = config.bridge.encryption.pickle_key.get_secret_value()
    return own or config.appservice.as_token.get_secret_value()


def login_keys(secret: str, mark: str = "") -> Callable[[RoomId], str]:
    """Return the key derivation room id -> key in its login name; enterprises differ by `mark`."""
    label = f"logins {mark}" if mark else "logins"
    return partial(room_key, secret=derive(secret, label.encode()))


def link_settings_of(
    config: Config, enterprise: str = "", mark: str = "", neighbours: int = 1
) -> LinkSettings:
    server, passwords = config.webchat, Passwords(encryption_secret_of(config))
    return LinkSettings(
        server=server,
        enterprise=enterprise,
        mark=mark,
        neighbours=neighbours,
        unseal=passwords.unseal if server.login.own_accounts else None,
    )


def console_key_of(config: Config) -> bytes:
    """Return the key that signs the console's links and sessions."""
    return derive(encryption_secret_of(config), b"console")


def secrets_of(config: Config) -> list[str]:
    """Return every secret of the config, for the log redactor."""
    url = config.database.url.get_secret_value()
    found = [leaf.get_secret_value() for _, leaf in leaves(config) if isinstance(leaf, SecretStr)]
    password, query = urlsplit(url).password, urlsplit(url).query
    if not password and "pass" not in query:  # no secret, and log lines name the database
        found.remove(url)
    return [*found, unquote(password), password] if password else found


class Passwords:
    """Encryption of customers' passwords with the operator's secret, bound to the room."""

    def __init__(self, secret: str) -> None:
        self._sealer = Sealer(secret)

    def seal(self, room_id: RoomId, password: str) -> bytes:
        return self._sealer.seal(f"login/{room_id}", password.encode("utf-8", "replace"))

    def unseal(self, room_id: RoomId, sealed: bytes) -> str:
        """Decrypt a password; StoreError if sealed for another room or with another secret."""
        return self._sealer.open(f"login/{room_id}", sealed).decode()
