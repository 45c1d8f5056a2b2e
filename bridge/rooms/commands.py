"""Reading commands: `!wc queue set sales` anywhere, `queue set sales` in a DM with the bot.

Parsing is pure and says only what was meant; whether the sender may do it, and what comes of it, is
decided by the reception.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum

import msgspec

from bridge.conversation.events import Args
from bridge.rooms.nearest import nearest


class Verb(StrEnum):
    """The commands of the contract that this version has."""

    HELP = "help"
    START = "start"
    CANCEL = "cancel"
    CLOSE = "close"
    RATE = "rate"
    ASK = "ask"
    HUMAN = "human"
    SOLVED = "solved"
    CALLBACK = "callback"
    QUEUE = "queue"
    LANG = "lang"
    FROM = "from"
    CONFIG = "config"
    STATUS = "status"
    RETRY = "retry"
    HISTORY = "history"
    TRANSCRIPT = "transcript"
    LOGIN = "login"
    LOGOUT = "logout"
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
    args: Args
    secret: bool = False
    """It may hold a password all the same."""
    bare: bool = False
    """Written without the prefix: a customer's words, should they say so."""


LONGEST = 100
"""Characters of a word that may be a command."""
_PART = 500
"""Characters that are made narrow at a time."""
_SETTINGS = frozenset({Verb.QUEUE, Verb.LANG, Verb.FROM, Verb.CONFIG})
_ACTIONS = frozenset({"set", "show", "reset"})


def parse(text: str, prefix: str, *, prefix_needed: bool) -> Parsed | Malformed | None:
    """Read a message as a command.

    Args:
        text: the plain body.
        prefix: the command prefix of the config; matched as a whole word, also in the full-width
            letters of an input method ("！wc").
        prefix_needed: False in a DM with the bot while no chat runs. There a message without the
            prefix counts only if it is exactly a command: "help me" is a customer's word.

    Returns:
        None for an ordinary message.
    """
    words = text.split()
    if not words:
        return None
    if folded(words[0]) == folded(prefix):
        return _parse_words(words[1:], prefix)
    glued = _glued(words[0], prefix)
    if glued is not None:
        return _parse_words([glued, *words[1:]], prefix)
    if prefix_needed or "\n" in text.strip():
        return None
    parsed = _parse_words(words, prefix)
    if isinstance(parsed, Malformed):
        return None
    return msgspec.structs.replace(parsed, bare=True)


def slip(text: str, prefix: str) -> Malformed | None:
    """Read what is no command without its prefix as one about the room's settings, miswritten.

    Only the command itself with an action and one more word, or fewer: "lang fr", "queue set".
    "From Berlin" looks the same, so whoever wrote it is told how it comes to an agent all the same.

    Args:
        text: the plain body.
        prefix: the command prefix of the config.

    Returns:
        None for a customer's words.
    """
    words = [] if "\n" in text.strip() else text.split()
    verb = folded(words[0]) if words else ""
    rest = words[2:] if len(words) > 1 and folded(words[1]) in _ACTIONS else words[1:]
    if verb not in _SETTINGS or len(rest) > 1:
        return None
    return Malformed(f"usage.{verb}", {"prefix": prefix}, bare=True)


def _glued(word: str, prefix: str) -> str | None:
    """The command in a word like "!wcstatus", from which only a blank is missing.

    Nobody says such a word to an agent, if the prefix begins with a sign.
    """
    verb = folded(word).removeprefix(folded(prefix))
    if prefix[:1].isalnum() or verb == folded(word) or nearest(verb, Verb) is None:
        return None
    return verb


def folded(word: str) -> str:
    """A word as commands are compared: small letters, and none of an input method's wide ones.

    For a word of ours; never for a password, or what somebody else is to read. A long one, which is
    none of ours, stays as it is.
    """
    return narrow(word).casefold() if len(word) <= LONGEST else word


def narrow(text: str) -> str:
    """A text as it is compared: wide letters of an input method made narrow (NFKC).

    It is done in parts: the marks upon a letter are sorted, which takes time by the square of their
    number, and nobody's word has so many. Upon a letter that ends a part they stay as they came.
    """
    parts = (text[at : at + _PART] for at in range(0, len(text), _PART))
    return "".join(unicodedata.normalize("NFKC", part) for part in parts)


def _parse_words(words: list[str], prefix: str) -> Parsed | Malformed:
    if not words:
        return Parsed(Verb.HELP)
    written = folded(words[0])
    try:
        verb = Verb(written)
    except ValueError:
        near = nearest(written, Verb)
        if near is not None:
            args: Args = {"near": near, "prefix": prefix}
            secret = near == Verb.LOGIN and len(words) > 1
            return Malformed("command.unknown_near", args, secret=secret)
        return Malformed("command.unknown", {"prefix": prefix})
    return _check_words(verb, words[1:], prefix)


def _check_words(verb: Verb, words: list[str], prefix: str) -> Parsed | Malformed:
    usage = Malformed(f"usage.{verb}", {"prefix": prefix})
    match verb:
        case Verb.RATE | Verb.HISTORY | Verb.TRANSCRIPT:
            return _check_number(verb, words, usage)
        case Verb.QUEUE:
            return _check_queue(words, usage)
        case Verb.CONFIG:
            return _check_config(words, usage)
        case Verb.LANG | Verb.FROM:
            return Parsed(verb, (narrow(words[0]),)) if len(words) == 1 else usage
        case Verb.LOGIN:
            if len(words) == 2:
                return Parsed(verb, tuple(words))
            return msgspec.structs.replace(usage, secret=bool(words))
        case Verb.RETRY:
            known = [folded(word) for word in words] in ([], ["all"])
            return Parsed(verb, tuple(words)) if known else usage
        case Verb.ASK:
            return Parsed(verb, (" ".join(words),)) if words else usage
        case Verb.START:
            return Parsed(verb, (" ".join(words),)) if words else Parsed(verb)
        case _:
            return usage if words else Parsed(verb)


def _check_number(verb: Verb, words: list[str], usage: Malformed) -> Parsed | Malformed:
    """A rating may have words behind its number, and has to have one."""
    if not words:
        return usage if verb is Verb.RATE else Parsed(verb)
    number = narrow(words[0])
    well_formed = _is_number(number) and (verb is Verb.RATE or len(words) == 1)
    return Parsed(verb, (number, *words[1:])) if well_formed else usage


def _check_queue(words: list[str], usage: Malformed) -> Parsed | Malformed:
    action = folded(words[0]) if words else "show"
    if action in {"list", "show"} and len(words) <= 1:
        return Parsed(Verb.QUEUE, (action,))
    if action == "set" and len(words) > 1:
        return Parsed(Verb.QUEUE, ("set", " ".join(words[1:])))
    return usage


def _check_config(words: list[str], usage: Malformed) -> Parsed | Malformed:
    action = folded(words[0]) if words else "show"
    if action in {"show", "reset"} and len(words) <= 1:
        return Parsed(Verb.CONFIG, (action,))
    if action == "set" and len(words) > 2:
        return Parsed(Verb.CONFIG, ("set", folded(words[1]), " ".join(words[2:])))
    return usage


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 6
