"""Who may use the bridge: rules by user, server or pattern, of which the most specific wins. Pure.

Order: an exact user id, then a pattern over user ids, then an exact server name, then a pattern
over servers, then `*`, then nobody; of two patterns the one with more literal characters. So a
user, or all bots, can be shut out of a server that is let in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum


class Permission(StrEnum):
    """What a Matrix user may do."""

    NONE = "none"
    CUSTOMER = "customer"
    """Be served."""
    ADMIN = "admin"
    """Configure any room, whatever the power level in it."""
    IGNORE = "ignore"
    """Not be served, nor told so: for bots."""


def is_pattern(rule: str) -> bool:
    return "*" in rule or "?" in rule


def rule_matches(rule: str, user_id: str) -> bool:
    """True if `rule` covers `user_id`.

    A rule that begins with `@` speaks of whole user ids, any other of server names.
    """
    target = user_id if rule.startswith("@") else user_id.partition(":")[2]
    if rule == "*":
        return True
    if not is_pattern(rule):
        return rule == target
    # Not fnmatch: its [] would swallow the brackets of IPv6 server names.
    regex = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in rule)
    return re.fullmatch(regex, target, re.DOTALL) is not None


def _weight(rule: str) -> tuple[int, int]:
    if rule == "*":
        return (0, 0)
    users = rule.startswith("@")
    if is_pattern(rule):
        return (3 if users else 1, sum(char not in "*?" for char in rule))
    return (4, 0) if users else (2, 0)


def permission_of(rules: Mapping[str, Permission], user_id: str) -> Permission:
    """The permission of the most specific rule that covers the user, NONE if there is none."""
    return _strongest(rules, [rule for rule in rules if rule_matches(rule, user_id)])


def _strongest(rules: Mapping[str, Permission], matching: Sequence[str]) -> Permission:
    return rules[max(matching, key=_weight)] if matching else Permission.NONE


# --- is anybody served at all? --------------------------------------------------------------------

SERVED = frozenset({Permission.CUSTOMER, Permission.ADMIN})
_MOST_STEPS = 2_000_000
"""Of patterns by one letter: seconds. Only rules made to be long to think about need more."""
_UNNAMED = ""
"""A letter that no rule names: there always is one."""

_Places = frozenset[int]
"""How far a pattern may have come with what was read so far; its length: it matches that."""


def serves_somebody_of(rules: Mapping[str, Permission], domain: str) -> bool:
    """True if the rules let at least one possible user of this server be served.

    Rules over servers say the same of all its users. The rules over user ids are walked side by
    side through all names at once, as finite automata whose alphabet is the letters that they name
    and one that they do not, so that the answer is exact. Rules that would take more than seconds
    to walk are taken to serve somebody.
    """
    of_server = [
        rule for rule in rules if not rule.startswith("@") and rule_matches(rule, f"@x:{domain}")
    ]
    # The others end in another server, whatever comes before.
    users = [
        rule for rule in rules if rule.startswith("@") and _ends(rule, _anywhere(rule), domain)
    ]
    if not any(rules[rule] in SERVED for rule in (*of_server, *users)):
        return False

    def served(state: tuple[_Places, ...]) -> bool:
        pairs = zip(users, state, strict=True)
        matching = [rule for rule, places in pairs if _ends(rule, places, domain)]
        return _strongest(rules, of_server + matching) in SERVED

    letters = [_UNNAMED, *sorted(set("".join(users)) - set("*?:"))]
    start = tuple(_read(rule, _opened(rule, {0}), "@") for rule in users)
    seen: set[tuple[_Places, ...]] = set()
    ahead, steps = [start], 0
    while ahead:
        state = ahead.pop()
        for letter in letters:
            after = tuple(
                _read(rule, places, letter) for rule, places in zip(users, state, strict=True)
            )
            steps += len(users)
            if after not in seen:
                if served(after) or steps > _MOST_STEPS:
                    return True
                seen.add(after)
                ahead.append(after)
    return False


def _opened(rule: str, places: set[int]) -> _Places:
    """The places, and those that lie behind stars which stand for nothing."""
    reached = set(places)
    for place in places:
        while rule[place : place + 1] == "*":
            place += 1  # noqa: PLW2901 - the walk itself
            reached.add(place)
    return frozenset(reached)


def _read(rule: str, places: _Places, letter: str) -> _Places:
    moved = {
        place if rule[place] == "*" else place + 1
        for place in places
        if place < len(rule) and rule[place] in {"*", "?", letter}
    }
    return _opened(rule, moved)


def _anywhere(rule: str) -> _Places:
    return frozenset(range(len(rule) + 1))


def _ends(rule: str, places: _Places, domain: str) -> bool:
    """Whether the rule matches if the server's name is all that is still to come."""
    for letter in f":{domain}":
        places = _read(rule, places, letter)
    return len(rule) in places
