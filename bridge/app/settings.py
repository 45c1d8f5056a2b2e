"""From the operator's config to what each ring wants to know."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from bridge.config import Config
from bridge.config import Permission as ConfigPermission
from bridge.config.permissions import permission_of
from bridge.config.webchat import Dialect as ConfigDialect
from bridge.conversation.model import Policy
from bridge.ids import QueueId, UserId
from bridge.link.settings import (
    FRAME_OVERHEAD,
    AccountRule,
    LinkSettings,
    LoginType,
    UploadMode,
)
from bridge.matrix.users import OurUsers
from bridge.rooms.rules import Permission, QueueRule, RatingRule, Rules
from bridge.texts import Texts
from bridge.webchat.codes import Dialect

_PERMISSIONS = {
    ConfigPermission.NONE: Permission.NONE,
    ConfigPermission.CUSTOMER: Permission.CUSTOMER,
    ConfigPermission.ADMIN: Permission.ADMIN,
}


def users_of(config: Config) -> OurUsers:
    """The names of our own Matrix users."""
    return OurUsers(
        config.homeserver.domain,
        config.appservice.bot.username,
        config.bridge.username_template,
        [QueueId(queue.id) for queue in config.queues],
    )


def rules_of(
    config: Config, users: OurUsers, longest_text: Callable[[], int] | None = None
) -> Rules:
    """What the rooms ring goes by.

    Args:
        config: the operator's.
        users: our own Matrix users.
        longest_text: bytes of text that fit into one frame at the moment, which the link learns.
    """
    server, bridge = config.server, config.bridge
    queues = tuple(
        QueueRule(
            QueueId(queue.id),
            queue.name,
            tuple(queue.aliases),
            queue.source or server.source,
            queue.to_agent,
        )
        for queue in config.queues
    )
    by_user = {users.queue_user(queue.id): queue.id for queue in queues}

    def permission(user_id: str) -> Permission:
        return _PERMISSIONS[permission_of(bridge.permissions, user_id)]

    def queue_of_user(user_id: UserId) -> QueueId | None:
        return by_user.get(user_id)

    return Rules(
        bot=users.bot,
        queues=queues,
        default_queue=QueueId(config.default_queue),
        permission=permission,
        queue_of_user=queue_of_user,
        prefix=bridge.command_prefix,
        language=bridge.language,
        start=bridge.start,
        source=server.source,
        messages_per_minute=bridge.limits.messages_per_minute,
        rooms_per_user=bridge.limits.rooms_per_user,
        file_limit=bridge.limits.file,
        encryption=bridge.encryption.allow,
        longest_text=longest_text,
        texts=Texts(config.texts),
        ratings=tuple(
            RatingRule(one.id, {str(name): label for name, label in one.labels.items()})
            for one in config.rating.options
        ),
        robot=server.robot.enabled,
        km_base_url=server.robot.km_base_url,
        tell_reactions=bridge.tell_agents.reactions,
        tell_members=bridge.tell_agents.members,
        tell_withdrawals=bridge.tell_agents.withdrawals,
        policy=Policy(
            map=server.map,
            max_text_bytes=max(200, server.max_frame_bytes - FRAME_OVERHEAD),
        ),
    )


def encryption_secret_of(config: Config) -> str:
    """What seals the keys of encryption: a secret of its own, else the as_token.

    The as_token is in the operator's hands in any case; `register --rotate` keeps the old one as
    the secret.
    """
    own = config.bridge.encryption.pickle_key.get_secret_value()
    return own or config.appservice.as_token.get_secret_value()


def link_settings_of(config: Config) -> LinkSettings:
    """What the link ring goes by."""
    server = config.server
    return LinkSettings(
        base_url=server.base_url,
        enterprise_id=server.enterprise_id,
        dialect=None if server.dialect is ConfigDialect.AUTO else Dialect(server.dialect),
        login_type=LoginType(server.login.type),
        name=server.login.name,
        display_name=server.login.display_name,
        password=server.login.password.get_secret_value(),
        accounts={
            pattern: AccountRule(entry.name, entry.password.get_secret_value())
            for pattern, entry in server.accounts.items()
        },
        sign_key=server.sign_key.get_secret_value(),
        robot_key=server.robot.public_key.get_secret_value(),
        upload_mode=UploadMode(server.upload_mode),
        login_count=server.login_rate.count,
        login_seconds=server.login_rate.per_seconds,
        allowed_media_hosts=server.allowed_media_hosts,
        max_frame_bytes=server.max_frame_bytes,
    )


def secrets_of(config: Config) -> list[str]:
    """Every secret of the config, for the log's redactor."""
    server = config.server
    values = [
        config.appservice.as_token,
        config.appservice.hs_token,
        config.bridge.encryption.pickle_key,
        config.database.url,
        server.login.password,
        server.sign_key,
        server.robot.public_key,
        *(entry.password for entry in server.accounts.values()),
    ]
    found = [value.get_secret_value() for value in values]
    password = urlsplit(config.database.url.get_secret_value()).password
    return [*found, *([unquote(password), password] if password else [])]
