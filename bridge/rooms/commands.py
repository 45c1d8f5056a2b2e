"""Reading commands: `!wc queue set sales` anywhere, `queue set sales` in a DM with the bot.

Parsing is pure and says only what was meant; whether the sender may do it, and what comes of it, is
decided by the reception.
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum

import msgspec


class Verb(StrEnum):
    """The commands of the contract that this version has."""

    HELP = "help"
    START = "start"
    CANCEL = "cancel"
    CLOSE = "close"
    RATE = "rate"
    ASK = "ask"
    HUMAN = "human"
    QUEUE = "queue"
    LANG = "lang"
    FROM = "from"
    CONFIG = "config"
    STATUS = "status"
    PAUSE = "pause"
    RESUME = "resume"
    VERSION = "version"


class Parsed(msgspec.Struct, frozen=True):
    """A well-formed command."""

    verb: Verb
    words: tuple[str, ...] = ()
    bare: bool = False
    """Written without the prefix: only a command if it makes sense as one."""

    @property
    def for_admins(self) -> bool:
        """True if it changes the room for everybody."""
        if self.verb in {Verb.QUEUE, Verb.CONFIG}:
            return bool(self.words) and self.words[0] in {"set", "reset"}
        return self.verb in {Verb.LANG, Verb.FROM, Verb.PAUSE, Verb.RESUME}


class Malformed(msgspec.Struct, frozen=True):
    """Meant as a command, but not one; `key` and `args` are of the texts."""

    key: str
    args: dict[str, str | int]


def parse(text: str, prefix: str, *, prefix_needed: bool) -> Parsed | Malformed | None:
    """Read a message as a command.

    Args:
        text: the plain body.
        prefix: the command prefix of the config; matched as a whole word.
        prefix_needed: False in a DM with the bot while no chat runs. There a message without the
            prefix counts only if it is exactly a command: "help me" is a customer's word.

    Returns:
        None for an ordinary message.
    """
    words = text.split()
    if not words:
        return None
    if words[0].casefold() == prefix.casefold():
        return _parse_words(words[1:], prefix)
    if prefix_needed or "\n" in text.strip():
        return None
    parsed = _parse_words(words, prefix)
    if isinstance(parsed, Malformed):
        return None
    return msgspec.structs.replace(parsed, bare=True)


def _parse_words(words: list[str], prefix: str) -> Parsed | Malformed:
    if not words:
        return Parsed(Verb.HELP)
    try:
        verb = Verb(words[0].casefold())
    except ValueError:
        near = get_close_matches(words[0].casefold(), list(Verb), 1)
        if near:
            return Malformed("command.unknown_near", {"near": near[0], "prefix": prefix})
        return Malformed("command.unknown", {"prefix": prefix})
    return _check_words(verb, words[1:], prefix)


def _check_words(verb: Verb, words: list[str], prefix: str) -> Parsed | Malformed:
    usage = Malformed(f"usage.{verb}", {"prefix": prefix})
    match verb:
        case Verb.RATE:
            return Parsed(verb, tuple(words)) if words and _is_number(words[0]) else usage
        case Verb.QUEUE:
            return _check_queue(words, usage)
        case Verb.CONFIG:
            return _check_config(words, usage)
        case Verb.LANG | Verb.FROM:
            return Parsed(verb, tuple(words)) if len(words) == 1 else usage
        case Verb.ASK:
            return Parsed(verb, (" ".join(words),)) if words else usage
        case Verb.START:
            return Parsed(verb, (" ".join(words),)) if words else Parsed(verb)
        case _:
            return usage if words else Parsed(verb)


def _check_queue(words: list[str], usage: Malformed) -> Parsed | Malformed:
    action = words[0].casefold() if words else "show"
    if action in {"list", "show"} and len(words) <= 1:
        return Parsed(Verb.QUEUE, (action,))
    if action == "set" and len(words) > 1:
        return Parsed(Verb.QUEUE, ("set", " ".join(words[1:])))
    return usage


def _check_config(words: list[str], usage: Malformed) -> Parsed | Malformed:
    action = words[0].casefold() if words else "show"
    if action in {"show", "reset"} and len(words) <= 1:
        return Parsed(Verb.CONFIG, (action,))
    if action == "set" and len(words) > 2:
        return Parsed(Verb.CONFIG, ("set", words[1].casefold(), " ".join(words[2:])))
    return usage


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 6
