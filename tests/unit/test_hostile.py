"""No hostile text of a customer, an agent or a server blocks the event loop.

Every room waits for the event loop: a parser that takes a minute for one message stops all rooms
for a minute. So every parser is given hostile texts. Regular expressions, and functions of text
alone, are found by searching the bridge, so that new ones are tested too; others are listed at the
end.
"""

from __future__ import annotations

import ast
import copy
import gc
import importlib
import inspect
import json
import pkgutil
import re
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest

import bridge
from bridge.conversation.model import CustomerText
from bridge.conversation.turn import Policy
from bridge.ids import RoomId
from bridge.matrix.events import interpret, recorded
from bridge.matrix.render import pieces, text_contents
from bridge.matrix.users import OurUsers
from bridge.rooms.commands import COMMANDS
from bridge.rooms.ports import MemberJoined, Spoke
from bridge.rooms.record import RoomRecord, RoomSettings
from bridge.rooms.rules import BadOrder, set_together
from bridge.rooms.transcripts import Telling, build_page
from bridge.webchat.codes import RobotUse
from bridge.webchat.http import (
    Endpoints,
    parse_history_reply,
    parse_login_reply,
    parse_robot_reply,
    parse_upload_reply,
)
from bridge.webchat.read import parse_frame
from tests.fuzz.codec import bodies, frames
from tests.support.event_examples import examples
from tests.support.hostile import hostile
from tests.unit.conversation.centre import after_an_outage, chat
from tests.unit.rooms.desks import EVENT, Desk, X, fix, said
from tests.unit.rooms.test_ratings_in_words import CARD, asked
from tests.unit.rooms.test_signing_in import TAKING
from tests.unit.rooms.test_transcript import line, whole
from tests.unit.rooms.visits import ADA, RULES, House

LIMIT = 0.5
"""Maximum CPU seconds of this thread, so that a busy machine makes no difference."""
TEXTS = hostile()
SENT = {name: text for name, text in TEXTS.items() if "\ud800" not in text}
"""Texts that JSON can hold, for functions that only get decoded JSON."""
OPERATORS = frozenset({"cli", "config", "demo", "simulator", "__main__"})
"""Parts of the bridge that only read input of operators and testers."""
PURE = frozenset({"webchat", "conversation", "rooms", "matrix", "media", "link", "texts"})
"""Parts whose functions read input of others."""
Reader = Callable[[str], object]


def fast(*readers: Reader, texts: Mapping[str, str] = SENT) -> None:
    """Assert that each reader reads each text within the limit, at least once in three times.

    What a hypervisor gives to other machines meanwhile counts as time of the thread.
    """
    for name, text in texts.items():
        for read in readers:
            took = seconds(read, text)
            for _ in range(2):
                took = took if took < LIMIT else seconds(read, text)
            assert took < LIMIT, f"{took:.1f} s for 60 KB of {name}"


def seconds(read: Reader, text: str) -> float:
    gc.disable()  # a collection would traverse the objects of thousands of tests
    try:
        began = time.thread_time()
        read(text)
        return time.thread_time() - began
    finally:
        gc.enable()


def modules() -> Iterator[types.ModuleType]:
    for found in pkgutil.walk_packages(bridge.__path__, "bridge."):
        if found.name.split(".")[1] not in OPERATORS:
            yield importlib.import_module(found.name)


MODULES = tuple(modules())


# --- regular expressions ------------------------------------------------------------------------

METHODS = ("search", "match", "fullmatch", "sub", "split", "findall", "finditer")


def patterns() -> Iterator[tuple[str, Reader]]:
    """Yield every pattern of a module or a function, with each method used on it."""
    for module in MODULES:
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Call)]
        used = {
            (one.value.id, one.attr)
            for one in calls
            if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)
        }
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                # A pattern that is passed on may be used with any method.
                ways = [way for way in METHODS if (name, way) in used] or METHODS
                for way in ways:
                    yield f"{module.__name__}.{name}.{way}", partial(applied, value, way)
        for one in calls:
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
                way, of = one.func.attr, one.func.value
                if way in METHODS and isinstance(of, ast.Name) and of.id == "re":
                    where = f"{module.__name__}:{one.lineno}:{one.col_offset}.{way}"
                    pattern = one.args[0]
                    assert isinstance(pattern, ast.Constant), f"{where} is made of what?"
                    yield where, partial(applied, re.compile(str(pattern.value)), way)


def applied(pattern: re.Pattern[str] | re.Pattern[bytes], way: str, text: str) -> None:
    read = text.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else text
    found = getattr(pattern, way)(*(("", read) if way == "sub" else (read,)))
    if way == "finditer":
        list(found)


PATTERNS = dict(patterns())


@pytest.mark.parametrize("name", PATTERNS)
def test_regular_expression_is_fast(name: str) -> None:
    fast(PATTERNS[name], texts=TEXTS)


# --- functions of text --------------------------------------------------------------------------

TEXTUAL = (str, bytes, object, str | bytes, str | None)


def functions() -> Iterator[tuple[str, list[Reader]]]:
    """Yield every function, also private, whose required parameters are all text."""
    for module in MODULES:
        if module.__name__.split(".")[1] in PURE:
            for name, value in vars(module).items():
                if inspect.isfunction(value) and value.__module__ == module.__name__:
                    kinds = wanted(value, vars(module))
                    if kinds is not None:
                        yield f"{module.__name__}.{name}", list(called(value, kinds))


def wanted(function: Callable[..., object], known: dict[str, object]) -> list[object] | None:
    """Return the types of a function's required parameters; None unless all are text."""
    if inspect.iscoroutinefunction(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    needed = [one for one in parameters if one.default is one.empty]
    if any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in needed):
        return None
    kinds: list[object] = []
    for one in needed:
        kind = one.annotation
        if isinstance(kind, str):
            with suppress(NameError, AttributeError, TypeError):
                kind = eval(kind, known)  # noqa: S307 - annotations of ours
        kinds.append(getattr(kind, "__supertype__", kind))
    return kinds if kinds and all(kind in TEXTUAL for kind in kinds) else None


def called(function: Callable[..., object], kinds: list[object]) -> Iterator[Reader]:
    """Yield calls with all arguments hostile, and with one hostile and the others harmless."""
    count = len(kinds)
    for which in {
        (True,) * count,
        *(tuple(at == one for at in range(count)) for one in range(count)),
    }:
        yield partial(call, function, kinds, which)


def call(
    function: Callable[..., object], kinds: list[object], which: tuple[bool, ...], text: str
) -> None:
    words = (text if one else "word" for one in which)
    arguments = [
        word.encode("utf-8", "replace") if kind is bytes else word
        for kind, word in zip(kinds, words, strict=True)
    ]
    with suppress(Exception):  # other tests check what is raised
        found = function(*arguments)
        if isinstance(found, Iterator):
            list(found)


FUNCTIONS = dict(functions())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_of_text_is_fast(name: str) -> None:
    fast(*FUNCTIONS[name], texts=TEXTS)


def test_patterns_and_functions_are_found_and_the_limit_is_enforced() -> None:
    assert "bridge.rooms.arguments._AROUND_WORDS.sub" in PATTERNS
    assert "bridge.rooms.arguments.reads_as_words" in FUNCTIONS

    def slow(_: str) -> None:
        end = time.thread_time() + LIMIT
        while time.thread_time() < end:
            pass

    with pytest.raises(AssertionError, match="60 KB of 'a'"):
        fast(slow)


# --- frames, events, conversations --------------------------------------------------------------

Json = dict[str, object]
OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", ())


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of the texts in a JSON value."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from places(inner, (*path, at))


def filled(value: object, path: tuple[str | int, ...], text: str) -> object:
    """Return the value with this text at that path."""
    if not path:
        return text
    whole = copy.copy(value)
    if isinstance(whole, tuple):
        whole = list(whole)
    assert isinstance(whole, dict | list)
    whole[path[0]] = filled(whole[path[0]], path[1:], text)  # type: ignore[index] # by its own path
    return whole


def each_place(value: Mapping[str, object], read: Callable[[object], object]) -> list[Reader]:
    return [partial(read_filled, read, value, path) for path in places(value)]


def read_filled(
    read: Callable[[object], object], value: object, path: tuple[str | int, ...], text: str
) -> None:
    read(filled(value, path, text))


@pytest.mark.parametrize("frame", tuple(frames()), ids=lambda frame: str(frame["type"]))
def test_parsing_a_frame_is_fast(frame: Json) -> None:
    def read(filled: object) -> None:
        parse_frame(json.dumps(filled))

    fast(*each_place(frame, read))


@pytest.mark.parametrize("body", tuple(bodies()), ids="-".join)
def test_parsing_an_http_reply_is_fast(body: Json) -> None:
    parsers = (parse_login_reply, parse_upload_reply, parse_robot_reply, parse_history_reply)

    def read(filled: object) -> None:
        for parse in parsers:
            parse(json.dumps(filled).encode())

    fast(*each_place(body, read))


def events() -> Mapping[str, Reader]:
    """Return a reader for each text of each kind of event that customers' clients send."""

    def read(filled: object) -> None:
        assert isinstance(filled, dict)
        interpret(filled, OURS)
        recorded(filled)

    found: dict[str, Reader] = {}
    for raw in (example.raw for example in examples()):
        content = raw.get("content")
        kind = content.get("msgtype") if isinstance(content, dict) else ""
        for path in places(raw):
            name = f"{raw.get('type')} {kind} {'.'.join(map(str, path))}"
            found[name] = partial(read_filled, read, raw, path)
    return found


EVENTS = events()


@pytest.mark.parametrize("name", EVENTS)
def test_reading_an_event_is_fast(name: str) -> None:
    fast(EVENTS[name])


def before_a_chat(text: str) -> None:
    House(TAKING).served().say(text)


def before_a_robot(text: str) -> None:
    rules = msgspec.structs.replace(RULES, policy=Policy(robot=RobotUse.FIRST))
    House(rules).served().say(text)


def after_a_chat(text: str) -> None:
    asked().say(text)


def rating(text: str) -> None:
    asked().receive(Spoke(EVENT, ADA, CustomerText(text), text, reply_to=CARD))


def corrected(old: str, new: str) -> None:
    Desk().happen(fix(new), said(old))


def replied(text: str) -> None:
    Desk().happen(Spoke(EVENT, ADA, CustomerText(text), text, reply_to=X), said(text))


def customers_name(text: str) -> None:
    """Handle a display name, which precedes texts in a room with several people."""
    house = House().served(direct=False)
    house.receive(MemberJoined(ADA, text, EVENT))
    house.say("hello")


def setting(key: str, text: str) -> None:
    with suppress(BadOrder):
        set_together({key: text}, RoomSettings(), RULES)


def user(text: str) -> None:
    OURS.is_ours(text)
    OURS.is_host(text)
    OURS.queue_of(text)


def missed(text: str) -> None:
    """Handle an agent's text during an outage of the link, after an almost equal one."""
    after_an_outage(f"{text} ", text).tell()


def transcript(text: str) -> None:
    build_page(whole(line(text, name=text)), Telling(RULES, RoomRecord(RoomId("!a:b"))))


SERVER = Endpoints("https://crm.example.org/webchat")
WAYS: Mapping[str, Sequence[Reader]] = {
    "before a chat": (before_a_chat,),
    "before a robot": (before_a_robot,),
    "after a chat": (after_a_chat, rating),
    "in a chat": (lambda text: chat().text(text), lambda text: chat().rate(5, text)),
    "command": (
        lambda text: before_a_chat(f"start {text}"),
        lambda text: before_a_chat(f"login x {text}"),
        lambda text: before_a_chat(f"login {text} x"),
    ),
    "correction": (
        lambda text: corrected(text, f"{text} x"),
        lambda text: corrected("x", text),
    ),
    "reply": (replied,),
    "names": (customers_name,),
    "settings": [partial(setting, key) for key in ("queue", "source", "language", "start")],
    "users": (
        user,
        lambda text: user(f"@webchat_{text}:example.org"),
        lambda text: user(f"@webchat_queue_{text}:example.org"),
    ),
    "agent": (lambda text: chat().said(text), missed),
    "fragment": (
        lambda text: pieces(f"{text}<img src='/a.png'>", SERVER.absolute),
        lambda text: pieces(f"<a href='{text}", SERVER.absolute),
        lambda text: text_contents(f"<p>{text}"),
    ),
    "transcript": (transcript,),
}


@pytest.mark.parametrize("way", WAYS)
def test_handling_a_text_is_fast(way: str) -> None:
    fast(*WAYS[way])


@pytest.mark.parametrize("verb", COMMANDS)
def test_handling_a_command_is_fast(verb: str) -> None:
    fast(
        lambda text: before_a_chat(f"!wc {verb} {text}"),
        lambda text: before_a_chat(f"!wc {verb} set {text} x"),
    )
