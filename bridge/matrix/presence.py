"""Being there: our token is good, the bot and the queue users exist, the homeserver reaches us."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.ids import QueueId, RoomId, UserId
from bridge.matrix.ghosts import Ghosts
from bridge.matrix.homeserver import Homeserver
from bridge.matrix.markers import Recognising
from bridge.matrix.transport import FOREIGN, Json, Transport
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Refused


class Presence(Recognising):
    """What is done with the homeserver at start, and asked of us or of it later."""

    def __init__(
        self, transport: Transport, homeserver: Homeserver, ghosts: Ghosts, users: OurUsers
    ) -> None:
        super().__init__(transport, homeserver)
        self._ghosts = ghosts
        self._users = users

    async def prepare(
        self,
        queues: Sequence[tuple[QueueId, str]],
        *,
        bot_name: str = "WebChat",
        bot_avatar: str = "",
    ) -> None:
        """Make the bot and the queue users exist, named as configured, and check our token.

        Idempotent; profiles are written only when they changed.

        Args:
            queues: id and display name of each configured queue.
            bot_name: the bot's display name.
            bot_avatar: the bot's picture, an mxc address; empty leaves it alone.

        Raises:
            Refused: the homeserver does not know our token (`M_UNKNOWN_TOKEN`), or does not let us
                have our users (`M_EXCLUSIVE`, `M_FORBIDDEN`), or the bot is not ours (`FOREIGN`).
            Unavailable: it does not answer.
        """
        # Asked every time, whatever the store remembers: nothing else works without the bot.
        await self._ghosts.names.register(self._users.bot)
        await self._homeserver.whoami()
        await self._ghosts.ensure(self._users.bot, bot_name)
        if bot_avatar:
            await self._ghosts.wear(self._users.bot, bot_avatar)
        for queue_id, name in queues:
            try:
                await self._ghosts.ensure(self._users.queue_user(queue_id), name)
            except Refused as refusal:
                if refusal.code != FOREIGN:
                    raise  # and that one is logged: the other queues are served all the same

    async def ping(self, appservice_id: str) -> None:
        """Have the homeserver call us, to learn whether it can; it then delivers its backlog.

        Raises:
            Refused: it has no such application service (`M_FORBIDDEN`).
            Unavailable: it does not answer, or cannot reach us.
        """
        await self._homeserver.ping(appservice_id)

    async def check(self) -> None:
        """See whether the homeserver answers and knows us; raises Unavailable or Refused."""
        await self._homeserver.whoami()

    async def latest(
        self, room_id: RoomId, who: UserId, limit: int, before: str = ""
    ) -> tuple[Sequence[Json], str]:
        """The latest events of a room that `who` is in; see `Homeserver.latest`."""
        return await self._homeserver.latest(who, room_id, limit, before)

    async def vouch(self, user_id: str) -> bool:
        """Answer the homeserver's question whether one of our users exists, and make it so."""
        if not self._users.is_host(user_id):
            return False
        await self._ghosts.ensure(UserId(user_id), "")
        return True
