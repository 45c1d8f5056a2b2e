"""The ports and decisions that everything in this ring works with, in one hand."""

from __future__ import annotations

import msgspec

from bridge.rooms.ports import Clock, LinkPort, MatrixPort
from bridge.rooms.rules import Rules
from bridge.rooms.store import StorePort


class Surroundings(msgspec.Struct, frozen=True):
    """Handed from the composition root to every worker, actor and lane."""

    store: StorePort
    matrix: MatrixPort
    link: LinkPort
    clock: Clock
    rules: Rules
