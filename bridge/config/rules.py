"""Rules that span keys, and keys whose meaning comes with a later version. Pure.

A setting that would do nothing is refused: an operator who set it would believe in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bridge.config.model import Config
from bridge.config.permissions import SERVED, Permission, is_pattern, serves_somebody_of
from bridge.config.problems import KeyPath, Problem
from bridge.config.webchat import LoginType, RobotMode, WebChat


def check_rules(config: Config) -> Iterator[Problem]:
    """Everything that a valid shape can still get wrong."""
    yield from _not_yet(config)
    yield from _queues(config)
    yield from _ratings(config)
    for index, server in enumerate(config.webchat):
        yield from _accounts(server, ("webchat", index))
    appservice = config.appservice
    tokens = (appservice.as_token.get_secret_value(), appservice.hs_token.get_secret_value())
    if tokens[0] and tokens[0] == tokens[1]:
        yield Problem(("appservice", "hs_token"), "must differ from as_token")
    encryption = config.bridge.encryption
    for name in ("default", "require"):
        if getattr(encryption, name) and not encryption.allow:
            yield Problem(("bridge", "encryption", name), "needs bridge.encryption.allow: true")
    bot, ghosts = appservice.bot.username, config.bridge.username_template
    before, _, after = ghosts.partition("{agent}")
    if bot.startswith(before) and bot.endswith(after) and len(bot) >= len(before) + len(after):
        yield Problem(
            ("appservice", "bot", "username"),
            f'could be the user of an agent: it matches bridge.username_template "{ghosts}"',
        )
    yield from _permissions(config)
    if config.retention.rows < config.retention.bodies:
        yield Problem(("retention", "rows"), "must not be shorter than retention.bodies")
    callback = config.bridge.callback
    if callback.retry_last < callback.retry_first:
        yield Problem(("bridge", "callback", "retry_last"), "must not be shorter than retry_first")
    if config.metrics.enabled and config.metrics.port == appservice.port:
        yield Problem(("metrics", "port"), "must differ from appservice.port")


def _permissions(config: Config) -> Iterator[Problem]:
    """Rules that serve nobody, or nobody of our own server: there they are mostly a slip.

    Who means it names the server with `none` (or `ignore`), and that is no slip.
    """
    here = ("bridge", "permissions")
    rules, domain = config.bridge.permissions, config.homeserver.domain
    for who in rules:
        if who.startswith("@") and ":" not in who and not is_pattern(who):
            yield Problem(
                (*here, who), "is nobody: a user id has a server, as in @name:example.org"
            )
    if not SERVED.intersection(rules.values()):
        yield Problem(here, "lets nobody use the bridge")
    elif rules.get(domain, Permission.CUSTOMER) in SERVED and not serves_somebody_of(rules, domain):
        yield Problem(
            here,
            f'serves nobody of homeserver.domain, {domain}: give it a rule, such as "{domain}":'
            " customer; or, if only users of other servers are to be served, say so with"
            f' "{domain}": none',
        )


def _not_yet(config: Config) -> Iterator[Problem]:
    if len(config.webchat) > 1:
        yield Problem(
            ("webchat", 1),
            "a second WebChat server comes with a later version; give one entry for now",
        )
    for index, server in enumerate(config.webchat):
        here: KeyPath = ("webchat", index)
        if server.robot.enabled is not (server.robot.mode is not RobotMode.OFF):
            yield Problem(
                (*here, "robot", "mode"),
                "must be command, first or when_no_agent if robot.enabled is true, else off",
            )


def _queues(config: Config) -> Iterator[Problem]:
    numbers: dict[int, int] = {}
    words: dict[str, int] = {}
    for index, queue in enumerate(config.queues):
        if queue.id in numbers:
            yield Problem(("queues", index, "id"), f"is also the id of queues[{numbers[queue.id]}]")
        numbers.setdefault(queue.id, index)
        for word in (queue.name, *queue.aliases):
            owner = words.setdefault(word.casefold(), index)
            if owner != index:
                yield Problem(("queues", index), f'the word "{word}" also means queues[{owner}]')
            if word.isdecimal() and int(word) != queue.id:
                yield Problem(
                    ("queues", index),
                    f'the word "{word}" would be read as a queue id; choose another',
                )
    if config.default_queue not in numbers:
        known = ", ".join(str(number) for number in numbers)
        yield Problem(("default_queue",), f"must be the id of a queue ({known})")


def _ratings(config: Config) -> Iterator[Problem]:
    seen: set[int] = set()
    for index, option in enumerate(config.rating.options):
        if option.id in seen:
            yield Problem(("rating", "options", index, "id"), "is there twice")
        seen.add(option.id)


def _accounts(server: WebChat, here: KeyPath) -> Iterator[Problem]:
    if server.accounts and server.login.type is not LoginType.PASSWORD:
        yield Problem((*here, "accounts"), "needs webchat.login.type: password")
