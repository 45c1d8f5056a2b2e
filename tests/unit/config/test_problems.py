"""How a problem is said."""

from __future__ import annotations

import pytest

from bridge.config.document import ConfigInvalid, KeyPath, Problem, render_path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("webchat", "login", "name"), "webchat.login.name"),
        (("queues", 0, "name"), "queues[0].name"),
        (("bridge", "permissions", "@a:b"), 'bridge.permissions."@a:b"'),
        (("texts", "result.-3", "zh-CN"), 'texts."result.-3".zh-CN'),
    ],
)
def test_paths(path: KeyPath, text: str) -> None:
    assert render_path(path) == text


def test_a_problem_says_where_what_and_why() -> None:
    problem = Problem(("a", "b"), "must be given", "config.yaml line 3", 3)
    assert str(problem) == "config.yaml line 3: a.b: must be given"
    assert str(Problem((), "must be given")) == "must be given"
    assert str(Problem(("a",), "must be given")) == "a: must be given"


def test_all_problems_are_in_the_text_of_the_error() -> None:
    error = ConfigInvalid([Problem(("a",), "x"), Problem(("b",), "y")])
    assert str(error) == "a: x\nb: y"
    assert len(error.problems) == 2
