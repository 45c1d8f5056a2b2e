"""The most specific permission wins."""

from __future__ import annotations

import pytest

from bridge.config.model import (
    Permission,
    is_pattern,
    permission_of,
    rule_matches,
    serves_somebody_of,
)

NONE, CUSTOMER, ADMIN = Permission.NONE, Permission.CUSTOMER, Permission.ADMIN
IGNORE = Permission.IGNORED


@pytest.mark.parametrize(
    ("rules", "user", "expected"),
    [
        ({}, "@a:example.org", NONE),
        ({"*": CUSTOMER}, "@a:example.org", CUSTOMER),
        ({"example.org": CUSTOMER}, "@a:example.org", CUSTOMER),
        ({"example.org": CUSTOMER}, "@a:evil-example.org", NONE),
        ({"example.org": CUSTOMER}, "@example.org:evil", NONE),
        ({"example.org": CUSTOMER}, "@a:example.org:8448", NONE),
        ({"example.org:8448": CUSTOMER}, "@a:example.org:8448", CUSTOMER),
        ({"*": CUSTOMER, "example.org": NONE}, "@a:example.org", NONE),
        ({"example.org": CUSTOMER, "@a:example.org": ADMIN}, "@a:example.org", ADMIN),
        ({"example.org": ADMIN, "@a:example.org": NONE}, "@a:example.org", NONE),
        ({"*.example.org": CUSTOMER}, "@a:eu.example.org", CUSTOMER),
        ({"*.example.org": CUSTOMER}, "@a:example.org", NONE),
        # A user pattern is more specific than the whole server, a longer pattern more than a short.
        ({"@bot*:example.org": NONE, "example.org": CUSTOMER}, "@bot1:example.org", NONE),
        ({"@bot*": IGNORE, "example.org": CUSTOMER}, "@bob:example.org", CUSTOMER),
        ({"@bot*": IGNORE, "@bot1:example.org": ADMIN}, "@bot1:example.org", ADMIN),
        ({"*.org": CUSTOMER, "example.org": NONE}, "@a:example.org", NONE),
        ({"*": ADMIN, "@b?t:*": CUSTOMER, "@b*:*": NONE}, "@bot:x.y", CUSTOMER),
        ({"[::1]:8448": CUSTOMER}, "@a:[::1]:8448", CUSTOMER),
        ({"[::1]*": CUSTOMER}, "@a:[::1]:8448", CUSTOMER),
        ({"*": CUSTOMER}, "nonsense", CUSTOMER),
        ({"example.org": CUSTOMER}, "nonsense", NONE),
    ],
)
def test_who_may_what(rules: dict[str, Permission], user: str, expected: Permission) -> None:
    assert permission_of(rules, user) is expected
    # The order of the file does not matter.
    assert permission_of(dict(reversed(rules.items())), user) is expected


def test_only_stars_and_question_marks_make_a_pattern() -> None:
    assert is_pattern("a?")
    assert not is_pattern("[ab].org")
    assert not rule_matches("[ab].org", "@x:a.org")
    assert not rule_matches("example.org", "@x:exampleXorg")


@pytest.mark.parametrize(
    ("rules", "served"),
    [
        ({}, False),
        ({"own.test": CUSTOMER}, True),
        ({"own.tset": CUSTOMER}, False),
        ({"OWN.test": CUSTOMER}, False),
        ({"*": CUSTOMER}, True),
        ({"*.test": ADMIN}, True),
        ({"?wn.test": ADMIN}, True),
        ({"*.own.test": CUSTOMER}, False),
        ({"@ada:own.test": CUSTOMER}, True),
        ({"@ada:own.test:8448": CUSTOMER}, False),
        ({"@ada:example.org": ADMIN}, False),
        ({"@*:*": CUSTOMER}, True),
        ({"@*": CUSTOMER}, True),
        ({"@ada:*": ADMIN, "@ada:own.test": NONE}, False),
        ({"@ad?:own.test": ADMIN, "@ada:own.test": NONE}, True),
        # A user id has a name: of `*` and `??*` together only one letter is left.
        ({"@*:own.test": CUSTOMER, "@??*:own.test": NONE}, True),
        ({"@?:*": CUSTOMER, "@*?:own.test": NONE}, False),
        ({"own.test": CUSTOMER, "@*:own.test": NONE}, False),
        ({"own.test": CUSTOMER, "@b*:own.test": IGNORE}, True),
        ({"*": CUSTOMER, "own.*": NONE}, False),
        ({"*": CUSTOMER, "own.test": NONE, "@staff_*:own.test": CUSTOMER}, True),
        # Each alone leaves somebody, both together nobody.
        ({"@a*:own.test": CUSTOMER, "@a*b:own.test": NONE}, True),
        ({"@a?:own.test": CUSTOMER, "@aa:own.test": NONE, "@?a*:own.test": NONE}, True),
        ({f"@bot{n}:own.test": NONE for n in range(500)} | {"other.test": CUSTOMER}, False),
        ({f"@bot{n}:other.test": CUSTOMER for n in range(500)}, False),
    ],
)
def test_whether_anybody_of_our_server_is_served(
    rules: dict[str, Permission],
    served: bool,
) -> None:
    assert serves_somebody_of(rules, "own.test") is served
