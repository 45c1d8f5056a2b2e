"""Who may use the bridge: rules by user, server or pattern, of which the most specific wins. Pure.

Order: an exact user id, then a pattern over user ids, then an exact server name, then a pattern
over servers, then `*`, then nobody; of two patterns the one with more literal characters. So a
user, or all bots, can be shut out of a server that is let in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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


SERVED = frozenset({Permission.CUSTOMER, Permission.ADMIN})
_STRANGER = "\ue000"
"""A letter that no rule names: of Unicode's private use."""


def permission_of(rules: Mapping[str, Permission], user_id: str) -> Permission:
    """The permission of the most specific rule that covers the user, NONE if there is none."""
    matching = [rule for rule in rules if rule_matches(rule, user_id)]
    if not matching:
        return Permission.NONE
    return rules[max(matching, key=_weight)]


def serves_somebody_of(rules: Mapping[str, Permission], domain: str) -> bool:
    """True if the rules let somebody of this server be served.

    Tried on names made of the rules themselves: what a pattern leaves open is filled with letters
    that no rule names, so that only other patterns can cover the name as well.
    """
    parts = {rule[1:].partition(":")[0] for rule in rules if rule.startswith("@")}
    return any(
        permission_of(rules, f"@{name.replace('?', _STRANGER)}:{domain}") in SERVED
        for part in (*parts, "*")
        for name in {part.replace("*", _STRANGER * count) for count in (0, 1, 9)}
    )
