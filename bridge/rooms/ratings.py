"""Which ratings a customer may give, and what each is called. Pure.

The server's own table counts (200, `ratings`), else the operator's, else one to five stars: the
protocol has no ids of its own (reference 1.3, traps T20 and T21).
"""

from __future__ import annotations

import msgspec

from bridge.rooms.rules import Rules

_STARS = (5, 4, 3, 2, 1)


class Choice(msgspec.Struct, frozen=True):
    id: int
    label: str


def choices(rules: Rules, language: str, told: tuple[tuple[int, str], ...]) -> tuple[Choice, ...]:
    """The ratings, the best first.

    Args:
        rules: the operator's; there the order counts.
        language: of the room.
        told: (id, label) as the server listed them; there the highest id is the best, as in the
            vendor's own apps (1 satisfied, 0 not).
    """
    if told:
        best_first = sorted(dict(told).items(), reverse=True)
        return tuple(Choice(number, label.strip() or str(number)) for number, label in best_first)
    if rules.ratings:
        return tuple(Choice(one.id, one.label(language)) for one in rules.ratings)
    texts = rules.texts
    return tuple(Choice(n, texts.render(language, f"rating.stars_{n}", {})) for n in _STARS)


def shown(offered: tuple[Choice, ...]) -> str:
    """The choices as lines of a message."""
    return "\n".join(f"{choice.id} — {choice.label}" for choice in offered)


def name_of(rules: Rules, language: str, told: tuple[tuple[int, str], ...], value: int) -> str:
    """What a rating is called; its number if nobody said. As for `choices`."""
    labels = {one.id: one.label for one in choices(rules, language, told)}
    return labels.get(value, str(value))
