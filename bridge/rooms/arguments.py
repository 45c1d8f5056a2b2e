"""Words of commands: how they are compared, and the parsers of arguments. Pure.

A parser takes the words after the verb; it returns the arguments, or None if they are malformed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from itertools import dropwhile

from bridge.rooms.rules import AROUND, MARKS, NUMERALS, folded, narrow, unquoted

Words = tuple[str, ...]
"""Arguments of a command: the words after its verb."""
BRACKETS = "<>[]"
"""Signs around arguments in `help`, which people copy."""
_RUN_OF_MARKS = re.compile(f"[{MARKS}]+")


def parted(words: list[str]) -> list[str]:
    """Strip punctuation before a command, and split its first word at the next punctuation."""
    words = unquoted(" ".join(words)).split()
    words = list(dropwhile(lambda word: not word.strip(AROUND), words))
    parts = _RUN_OF_MARKS.split(words[0].strip(AROUND), maxsplit=1) if words else []
    return [*filter(None, parts), *words[1:]]


def unended(words: list[str]) -> list[str]:
    """Strip final punctuation from a message of one word, where it does not change the meaning.

    "取消！" is "取消", but "help!" may be a call to a person and "取消？" a question.
    """
    if len(words) != 1 or words[0][-1] not in MARKS or words[0][-1] in "?？":
        return words
    word = words[0].rstrip(MARKS)
    if not folded(word).isascii():
        return [word]
    return [words[0].removesuffix(".").removesuffix("。")]


LONGEST_NUMBER = 4
"""Maximum digits of a number in a sentence; a longer one is a password."""
_AROUND_WORDS = re.compile(r"^\W+|(?<=\w)\W+$|(?<=\w)['’-](?=\w)")
"""Punctuation around a word, apostrophes and hyphens within. The lookbehind avoids quadratic
backtracking: 60,000 punctuation characters stopped all rooms for a minute."""


def reads_as_words(name: str, password: str) -> bool:
    """True if a `login` without prefix may be a sentence ("login doesn't work", "login error 404").

    It is neither tried, as that deletes the message, nor sent to the agent, who might read a
    password: the customer is asked. During a chat such words go to the agent, and the customer is
    asked about all others (`commands.like_login`).
    """
    name, password = _AROUND_WORDS.sub("", name), _AROUND_WORDS.sub("", password)
    number = password.isdecimal() and len(password) <= LONGEST_NUMBER
    return name.isalpha() and (number or not password or password.isalpha())


# --- parsers --------------------------------------------------------------------------------------

# fmt: off
_ACTIONS: Mapping[str, str] = {
    "列表": "list", "一覧": "list", "查看": "show", "表示": "show", "全部": "all", "すべて": "all",
    "设为": "set", "設為": "set", "設爲": "set", "設成": "set", "设成": "set", "改成": "set",
    "改为": "set", "改為": "set", "改爲": "set", "変更": "set", "變更": "set", "变更": "set",
    "设置": "set", "設置": "set", "設定": "set",
    "重置": "reset", "重設": "reset", "重设": "reset", "还原": "reset", "還原": "reset",
    "リセット": "reset",
}
# fmt: on


def just(count: int, words: list[str]) -> Words | None:
    return tuple(words) if len(words) == count else None


no_words = partial(just, 0)


def one_word(words: list[str]) -> Words | None:
    return just(1, [narrow(word).strip(BRACKETS) for word in words])


def maybe_all(words: list[str]) -> Words | None:
    return tuple(words) if [action_of(word) for word in words[:2]] in ([], ["all"]) else None


def sentence(words: list[str]) -> Words | None:
    return (" ".join(words),) if words else None


def _numeral(word: str) -> str:
    return narrow(word).strip(BRACKETS).translate(NUMERALS)


_NUMBER = re.compile(r"[0-9]{1,6}")
RATING = re.compile(r"-?[0-9]{1,19}")
"""A rating id: WebChat's have 64 bits."""


def number_and_words(words: list[str], form: re.Pattern[str] = _NUMBER) -> Words | None:
    number = _numeral(words[0]).removesuffix("分") if words else ""
    return (number, *words[1:]) if form.fullmatch(number) else None


def maybe_number(words: list[str]) -> Words | None:
    return number_and_words(words) if len(words) == 1 else no_words(words)


_JOINT = re.compile("[:：=＝]|(?=[“「『])")


def apart(words: list[str], count: int) -> list[str]:
    """Split the first words where a sign stands for the blank ("设为：2", "暂停=是")."""
    for at in range(count):
        parts = _JOINT.split(words[at], maxsplit=1) if at < len(words) else []
        words = [*words[:at], *filter(None, parts), *words[at + 1 :]]
    return words


def action_of(word: str) -> str:
    return _ACTIONS.get(folded(word), folded(word))


def number_and_form(words: list[str]) -> Words | None:
    """Parse an optional chat number followed by an optional `json`."""
    form = ("json",) if words and folded(words[-1]) == "json" else ()
    number = maybe_number(words[: len(words) - len(form)])
    return None if number is None else number + form


USUAL_DAYS, MOST_DAYS = 7, 90
"""Days covered by `stats`: the default and the maximum."""
_DAYS = re.compile("(?:最?近)?([0-9]{1,4})(?:d|天|日間?)?")


def maybe_days(words: list[str]) -> Words | None:
    if not words:
        return (str(USUAL_DAYS),)
    found = _DAYS.fullmatch(_numeral(words[0]).casefold()) if len(words) == 1 else None
    return (found[1],) if found is not None and 0 < int(found[1]) <= MOST_DAYS else None
