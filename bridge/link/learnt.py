"""Capabilities of one WebChat server as far as they are learnt: dialect, features, frame length.

* The *revision*: a 200, an rsId or a list of `users` proves a server later than 2016, which gets
  heartbeats, typing notices and the later keys.
* The *keys* of 110 and 104: a server that refuses one set and takes the other has said what it
  wants; that outweighs the revision. A refusal over keys is -14; -17 where a text is not blank; and
  -8 and -100 as long as this server has not been seen to read these keys.

While nothing is known, texts and ratings are written with both sets of keys. An operator who names
a dialect gets it: nothing is learnt from pushes then, and what a refusal proves holds until the
next start. With `auto` both are facts of the server, kept over restarts. So are the kind of body in
which it takes files, and the length of the longest frame, once it has closed a link over a longer
one (close 1009, trap T23). What is learnt counts at once; `run` tells the store, so that no socket
ever waits for a database.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

import structlog

from bridge.link.settings import FRAME_OVERHEAD, SHORTEST_TEXT, LinkSettings
from bridge.rooms.ports import Clock
from bridge.rooms.store import Facts, StoreError
from bridge.webchat.codes import Dialect, ResultCode, UploadMode, meaning
from bridge.webchat.frames import Command, RateSession, Reply, SendMessage, Text, Voice
from bridge.webchat.words import is_unseen

TOMCAT_LIMIT = 8000
"""Bytes that fit into the text buffer of the vendor's server as it is delivered (8,192), with room
to spare; the first step down for whoever was allowed to write more."""
LEAST_FRAME = 1024
"""A 1009 over a frame as short as this says nothing about a limit."""
UNANSWERED_BEATS = 3
"""A server that has not answered one of so many heartbeats does not know them."""
SAVE_AGAIN = 5.0
"""Seconds between two tries to store a fact."""


class Feature(StrEnum):
    """A feature that a server may lack; tried again after a restart of ours."""

    HEARTBEAT = "heartbeat"
    TYPING = "typing"
    HISTORY = "history"
    LONG_VOICE = "long voice"
    """A voice message that names the address of its sound."""


class Learnt:
    """Capabilities of one server, shared by all its links."""

    def __init__(self, settings: LinkSettings, facts: Facts, clock: Clock) -> None:
        server = settings.server
        self._wanted = None if server.dialect == "auto" else Dialect(server.dialect)
        """None: to be found out."""
        self._most = server.max_frame_bytes
        self._facts = facts
        self._clock = clock
        self._fact = settings.fact
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(**settings.told)
        self._later = self._wanted is Dialect.Y2019
        self._keys: Dialect | None = None
        self._missing: set[Feature] = set()
        self._beats_missed: int | None = 0
        """Heartbeats without an answer in a row; None once one was answered."""
        self.upload_mode = UploadMode.AUTO
        """The kind of body in which files were taken; AUTO: none was yet."""
        self._unsaved: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.read: set[Dialect] = set()
        """Keys that this server has taken in this run, or must know by its pushes: a refusal of
        them is about something else. What a refusal proved in an earlier run does not count:
        servers are replaced."""
        self.longest_frame = self._most
        """Bytes that a frame of ours may have."""
        self._conclude()

    def _conclude(self) -> None:
        """Derive how to write, as plain attributes: each message asks for them."""
        self.known = self._wanted is not None or self._later or self._keys is not None
        """There is nothing left to find out about the dialect."""
        self.keys = self._keys or self._wanted or (Dialect.Y2019 if self._later else Dialect.DUAL)
        """How to write the next command."""
        room = self.longest_frame - FRAME_OVERHEAD
        self.longest_clip = max(SHORTEST_TEXT, room)
        """Bytes that a voice may have in one frame; it is there once in every dialect."""
        if self.keys is Dialect.Y2016_11:  # the first guides have an address in its place
            self.longest_clip = 0
        once = room // 2 if self.keys is Dialect.DUAL else room
        self.longest_text = max(SHORTEST_TEXT, once)
        """Bytes that a text, escaped as JSON, may have in one frame; dialect `dual` has it twice.
        May shrink while the bridge runs."""

    async def load(self) -> None:
        """Recall what earlier runs learnt. Without a store it is learnt anew."""
        names = ("dialect", "keys", "longest_frame", "upload_mode")
        try:
            told = [await self._facts.fact(self._fact(name)) for name in names]
        except StoreError as error:
            self._log.warning("facts of the webchat server not loaded", error=str(error))
            return
        dialect, keys, frame, mode = told
        if self._wanted is None:
            self._keys = Dialect(keys) if keys in (Dialect.Y2016, Dialect.Y2019) else None
            self._later = Dialect.Y2019 in (dialect, keys)
            self.read = {Dialect.Y2019} if dialect == Dialect.Y2019 else set()
        if mode in (UploadMode.RAW, UploadMode.MULTIPART):
            self.upload_mode = UploadMode(mode)
        longest, _, most = (frame or "").partition("/")
        # Learnt under another setting, it is void: how else could an operator raise the limit?
        if longest.isdecimal() and most == str(self._most):
            self.longest_frame = int(longest)
        self._conclude()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while not await self.save():
                await self._clock.sleep(SAVE_AGAIN)

    async def save(self) -> bool:
        """Store what is not stored yet; False if the store did not take it all."""
        for name, value in list(self._unsaved.items()):
            try:
                await self._facts.save_fact(name, value)
            except StoreError as error:
                self._log.warning("fact of the webchat server not stored", error=str(error))
                return False
            if self._unsaved.get(name) == value:
                del self._unsaved[name]
        return True

    def _remember(self, what: str, value: str) -> None:
        self._unsaved[self._fact(what)] = value
        self._changed.set()

    def refuses(self, keys: Dialect, command: Command, reply: Reply) -> bool:
        """True if the server may want this command in other keys."""
        match reply.result, command:
            case ResultCode.INVALID_PARAMETER, _:
                return has_keys(command)
            case ResultCode.EMPTY_MESSAGE, SendMessage(content=Text(text=text)):
                return not is_unseen(text)  # else a server that calls it empty may have read it
            case ResultCode.EMPTY_MESSAGE, _:
                return tells_keys_apart(command)
            case ResultCode.REQUEST_ERROR | ResultCode.INTERNAL_ERROR, _:
                return tells_keys_apart(command) and keys not in self.read
            case _:
                return False

    def refuses_voice(self, command: Command, reply: Reply) -> bool:
        """True if this was a voice with an address: the next one is a file."""
        voice = command.content if isinstance(command, SendMessage) else None
        if not (isinstance(voice, Voice) and voice.uri) or meaning(reply.result).passing:
            return False
        if reply.result != ResultCode.INVALID_CHAT_SESSION_ID:
            self.has_not(Feature.LONG_VOICE)
        return True

    def saw_later(self) -> None:
        """A push has come that only later servers send."""
        if self._later:
            self.read.add(Dialect.Y2019)
            return
        self._later = True
        self.read = {Dialect.Y2019}  # it may have been replaced by this one just now
        self._conclude()
        if self._wanted is None:
            self._log.info("webchat server is of a later revision", dialect=self.keys)
            self._remember("dialect", Dialect.Y2019)

    def took(self, keys: Dialect, *, after_refusal: bool) -> None:
        """The server took a text or a rating with these keys, perhaps after it refused others."""
        self.read.add(keys)
        if not after_refusal or self._keys is keys:
            return
        self._keys = keys
        self._later = self._later or keys is Dialect.Y2019
        self._conclude()
        if self._wanted is None:
            self._log.info("webchat server takes the other keys", keys=keys)
            self._remember("keys", keys)
        else:
            event = "webchat server refuses the configured dialect; set webchat.dialect"
            self._log.warning(event, configured=self._wanted, takes=keys)

    def took_file(self, mode: UploadMode) -> None:
        """The server took a file in a kind of body that it was not known to take."""
        self.upload_mode = mode
        self._log.info("webchat upload mode found", mode=mode)
        self._remember("upload_mode", mode)

    def has(self, feature: Feature) -> bool:
        """True if it makes sense to ask the server for this. Who has named 2016 gets its guide's
        commands and no others; in `dual` typing is shown without proof of a later server.
        """
        if feature in self._missing:
            return False
        if feature is Feature.HISTORY:  # over HTTP, and harmless
            return True
        if feature is Feature.LONG_VOICE:
            return self.keys in {Dialect.Y2019, Dialect.Y2016_11}
        if self._later and self._wanted not in {Dialect.Y2016, Dialect.Y2016_11}:
            return True
        return feature is not Feature.HEARTBEAT and self._wanted is Dialect.DUAL

    def has_not(self, feature: Feature) -> None:
        if feature not in self._missing:
            self._missing.add(feature)
            self._log.info("webchat server lacks a feature", feature=feature)

    def beat(self, *, answered: bool) -> None:
        """Count lost heartbeats: a server that knows none must not cost us a link a minute."""
        if answered:
            self._beats_missed = None
        elif self._beats_missed is not None:
            self._beats_missed += 1
            if self._beats_missed >= UNANSWERED_BEATS:
                self.has_not(Feature.HEARTBEAT)

    def too_long(self, size: int) -> None:
        """The server has closed a link over a frame of `size` bytes: write none like it again."""
        if size <= LEAST_FRAME:
            return
        longest = TOMCAT_LIMIT if size > TOMCAT_LIMIT else max(LEAST_FRAME, size // 2)
        if longest >= self.longest_frame:
            return
        self.longest_frame = longest
        self._conclude()
        self._log.warning(
            "webchat server closed a link over a long frame", size=size, limit=longest
        )
        self._remember("longest_frame", f"{longest}/{self._most}")


def has_keys(command: Command) -> bool:
    """True for the commands that the dialects spell differently: 110 and 104."""
    return isinstance(command, SendMessage | RateSession)


def tells_keys_apart(command: Command) -> bool:
    """True for texts and ratings, whose keys differ in each dialect (reference 5); anything else
    differs in what is left out when empty, which tells nothing of texts.
    """
    if isinstance(command, SendMessage):
        return isinstance(command.content, Text)
    return isinstance(command, RateSession)


def other_keys(command: Command, keys: Dialect) -> tuple[Dialect, ...]:
    """The sets of keys that are left for a command which was refused in these, best first."""
    if keys is Dialect.DUAL and not tells_keys_apart(command):
        return (Dialect.Y2019,)  # the other two are the same for it
    return keys.others
