"""A module of Synapse that refuses what operators' spam checkers do, and fails at one word."""

from __future__ import annotations

from typing import Literal

from synapse.events import EventBase
from synapse.media._base import FileInfo
from synapse.media.media_storage import ReadableFileWrapper
from synapse.module_api import NOT_SPAM, ModuleApi
from synapse.module_api.errors import Codes

Verdict = Codes | Literal["NOT_SPAM"]

WORD = "casino"
"""Bridge users' messages and files with this word are refused, except the bot's messages."""
FATAL = "roulette"
"""The module itself fails at bridge users' messages with this word: Synapse answers 500."""
SHUT_OUT = ("@webchat__a00002:", "@webchat_queue_1:")
"""Beginnings of the ids of users who may not join any room."""


class SpamChecker:
    def __init__(self, _config: object, api: ModuleApi) -> None:
        api.register_spam_checker_callbacks(
            check_event_for_spam=self.check_event,
            user_may_join_room=self.check_join,
            check_media_file_for_spam=self.check_file,
        )

    @staticmethod
    def parse_config(config: object) -> object:
        return config

    async def check_event(self, event: EventBase) -> Verdict:
        if event.sender.startswith("@webchat") and FATAL in str(event.content):
            raise RuntimeError(FATAL)
        is_ghosts = event.sender.startswith("@webchat__")
        return Codes.UNKNOWN if is_ghosts and WORD in str(event.content) else NOT_SPAM

    async def check_join(self, user: str, _room_id: str, _is_invited: bool) -> Verdict:
        return Codes.UNKNOWN if user.startswith(SHUT_OUT) else NOT_SPAM

    async def check_file(self, file: ReadableFileWrapper, _info: FileInfo) -> Verdict:
        found = bytearray()
        await file.write_chunks_to(found.extend)
        return Codes.UNKNOWN if WORD.encode() in found else NOT_SPAM
