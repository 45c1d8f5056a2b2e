"""The operations by name; what each does is `test_scripts`."""

import re
from pathlib import Path
from typing import get_args

import pytest

from bridge.simulator import operations
from bridge.simulator.operations import BadOpError

NAMES = {str(kind.__struct_config__.tag) for kind in get_args(operations.AnyOp)}


def test_the_contract_of_scripts_is_kept() -> None:
    """These names stay; others may join them."""
    promised = (
        "accept refuse say image file typing push_rating agents transfer conference close kick "
        "expire_token forget restart set"
    )
    assert set(promised.split()) <= NAMES


def test_the_documentation_names_every_operation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)`", text)) >= NAMES


def test_a_field_that_no_operation_has_is_named() -> None:
    with pytest.raises(BadOpError, match="unknown field `mood`"):
        operations.read({"op": "close", "mood": "good"})
