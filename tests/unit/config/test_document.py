"""Reading YAML, and naming what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.document import (
    ConfigInvalid,
    ConfigUnreadable,
    Document,
    KeyPath,
    Problem,
    read_document,
    render_path,
)


def read(folder: Path, text: str | bytes) -> Document:
    path = folder / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_document(path)


def test_every_key_and_entry_has_its_line(tmp_path: Path) -> None:
    document = read(tmp_path, "# head\na:\n  b: 1\n\nc:\n  - x\n  - {y: 2,\n     z: 3}\n")
    assert document.data == {"a": {"b": 1}, "c": ["x", {"y": 2, "z": 3}]}
    assert document.lines == {
        ("a",): 2,
        ("a", "b"): 3,
        ("c",): 5,
        ("c", 0): 6,
        ("c", 1): 7,
        ("c", 1, "y"): 7,
        ("c", 1, "z"): 8,
    }
    assert document.line_of(("a", "b", "deeper")) == 3
    assert document.line_of(("nowhere",)) == 0


def test_values_are_plain_python(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 'q'\nb: 0x10\nc: 1.50\nd: &x true\ne: *x\nf:\n1: one\n")
    assert document.data == {
        "a": "q", "b": 16, "c": 1.5, "d": True, "e": True, "f": None, "1": "one"
    }  # fmt: skip
    assert [type(value) for value in document.data.values()] == [
        str, int, float, bool, bool, type(None), str
    ]  # fmt: skip


def test_merged_keys_are_there_without_a_line_of_their_own(tmp_path: Path) -> None:
    document = read(tmp_path, "x: &base {a: 1}\ny:\n  <<: *base\n  b: 2\n")
    assert document.data["y"] == {"a": 1, "b": 2}
    assert document.line_of(("y", "a")) == 2


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n").data == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1,\n", r"config\.yaml line \d+: "),
        (
            'a: "1\nb: "2"\n',
            r"config\.yaml line 2: .*check this line and those above for a wrong quote",
        ),
        ("a: [1\nb: 2\n", r"config\.yaml line 2: expected ',' or ']', but got ':'; check this"),
        ("a: 1\nb: [1,\n", r": expected the node content, but found '<stream end>'; check this"),
        ("a: '1' 2\n", r"config\.yaml line 1: expected <block end>, but found '<scalar>'; check"),
        ("a: 1\na: 2\n", r"config\.yaml line 2: duplicate key a"),
        ("a:\n\tb: 1\n", r"config\.yaml line 2: a tab cannot be here: indent with spaces"),
        ("a:\n  @ada:b.org: admin\n", "line 2: text that begins with @ must be in quotes"),
        ("- a\n", "must be a mapping"),
        ("just words\n", "must be a mapping"),
        (b"a: 1\nb: \xff\xfe\n", "line 2: is not UTF-8: save it as UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: is not UTF-8"),
        (b"homeserver\n  a: 1\n", "not allowed here; check this line and those above for a wrong"),
        ("a: \x01\n", r"config\.yaml"),
        ("a: " + "[" * 30 + "]" * 30, "is nested too deeply"),
        ("a: " + "[" * 400 + "]" * 400, r"config\.yaml: is nested too deeply"),
        # What ruamel's scalars let through, each with its line.
        ("a: 1\ndefault_queue: 2026-13-01\n", r"config\.yaml line 2: .*put it in quotes"),
        ("a: 1\nb: {c: 2020-13-45 99:99:99}\n", r"config\.yaml line 2: "),
        ("a: " + "9" * 5000 + "\n", r"config\.yaml line 1: "),
        ("a:\n  - !!int x\n", r"config\.yaml line 2: "),
        ("a: !!float x\n", r"config\.yaml line 1: "),
        # And its collections, which do not know where they are.
        ("a: !!omap 5\n", r"config\.yaml: .*!!"),
        ("a: !!set 5\n", r"config\.yaml: .*!!"),
    ],
)
def test_invalid_yaml_is_refused_with_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigUnreadable, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "as_token: !!int hunter2\n",
        "password: hunter2\npassword: hunter2\n",
        "appservice: {as_token: hunter2}\nappservice: {as_token: 'hunter2'}\n",
        "password: *hunter2\n",
        "password: !hunter2!x y\n",
        "password: &hunter2 x\nname: &hunter2 y\nsign_key: *hunter\n",
        'password: "hunter2\n\\hunter2"\n',
    ],
)
def test_a_value_that_may_be_a_secret_is_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigUnreadable, match=r"config\.yaml") as caught:
        read(tmp_path, text)
    assert "hunter" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigUnreadable, match=r"nowhere\.yaml: No such file"):
        read_document(tmp_path / "nowhere.yaml")


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
