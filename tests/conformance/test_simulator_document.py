"""docs/simulator.md documents every operation, fault and option, with its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from bridge.simulator import operations
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import Fault

TEXT = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_0-9]+)`", TEXT))
SHOWN = {
    name: cells[1].strip()
    for line in TEXT.splitlines()
    if line.startswith("| `") and len(cells := line.split("|")[1:]) > 2
    for name in re.findall(r"`([a-z_]+)`", cells[0])
}
"""Second cell of each table row by the names in the first."""


def test_every_operation_is_documented() -> None:
    tags = {shape.__name__ for shape in operations.OPERATIONS}
    assert len(tags) > 20
    assert tags - NAMED == set()


def test_every_fault_is_documented() -> None:
    kinds = set(get_args(get_type_hints(Fault)["fault"]))
    assert len(kinds) > 8
    assert kinds - NAMED == set()


@pytest.mark.parametrize("name", SimulatorOptions.__struct_fields__)
def test_every_option_is_documented_with_its_default(name: str) -> None:
    """Checks boolean defaults, and `dialect` where the dialect determines the default."""
    assert name in SHOWN
    usual = getattr(SimulatorOptions(), name)
    if usual is None:
        assert SHOWN[name] == "dialect"
    elif isinstance(usual, bool):
        assert str(usual).lower() in SHOWN[name]
