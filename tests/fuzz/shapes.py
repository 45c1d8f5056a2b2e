"""Hypothesis strategies for each target: inputs that are almost valid.

Valid frames, fragments, files and events are corrupted: a value of another type, a missing key,
JSON in JSON, a changed byte, a piece repeated a thousand times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

from hypothesis import strategies as st

from tests.fuzz import codec, markup, media_files, transactions
from tests.fuzz.target import Target

Json = object
_ODD_TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["", " ", "\0", "\ud83d", "\u202e", "null", "NaN", "1e999", "-0", "0x1", "١"]),
    st.integers().map(str),
    st.sampled_from(("a", "\x01", '"', "\\", "😀", "<", "&", "[", "{")).flatmap(
        lambda char: st.sampled_from((1, 50, 5_000, 30_000)).map(lambda count: char * count)
    ),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    _ODD_TEXTS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_ODD_TEXTS, inner, max_size=4)
    ),
    max_leaves=8,
)
_DEEP = st.sampled_from((50, 101, 1_000, 100_000)).map(lambda depth: "[" * depth + "]" * depth)


def _bent(told: Mapping[str, Json]) -> st.SearchStrategy[Json]:
    """Return objects with some fields replaced, removed, or converted to JSON text."""

    def bend(draw: st.DrawFn) -> Json:
        fields: dict[str, Json] = dict(told)
        for key in draw(st.lists(st.sampled_from(sorted(told)), max_size=3, unique=True)):
            value = fields[key]
            match draw(st.integers(0, 4)):
                case 0:
                    del fields[key]
                case 1:
                    fields[key] = json.dumps(value)
                case 2 if isinstance(value, dict) and value:
                    fields[key] = draw(_bent(value))
                case 3 if isinstance(value, list) and value and isinstance(value[0], dict):
                    fields[key] = [draw(_bent(one)) for one in value] if value[0] else []
                case _:
                    fields[key] = draw(_VALUES)
        return fields

    return st.composite(bend)() if told else st.just(told)


def _written(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _escaped(value: Json) -> bytes:
    return json.dumps(value).encode()


def _as_json(values: st.SearchStrategy[Json]) -> st.SearchStrategy[bytes]:
    return st.one_of(values.map(_written), values.map(_escaped), _DEEP.map(str.encode))


def _damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return the inputs truncated, with a changed byte, a repeated piece or inserted bytes."""

    def damage(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(whole))
        if not data:
            return bytes(data)
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                data[at] = draw(st.integers(0, 255))
            case 2:
                piece = data[at : at + draw(st.integers(1, 8))]
                data[at:at] = piece * draw(st.sampled_from((1, 20, 3_000)))
            case _:
                data[at:at] = draw(st.binary(max_size=6))
        return bytes(data)

    return st.composite(damage)()


def _mostly(shape: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(shape, shape, _damaged(shape), st.binary(max_size=200))


def _of_codec() -> st.SearchStrategy[bytes]:
    honest = [*codec.frames(), *codec.bodies()]
    bent = _as_json(st.sampled_from(honest).flatmap(_bent))
    commands = _as_json(
        st.sampled_from([json.loads(seed) for seed in codec.commands()]).flatmap(_bent)
    )
    faces = st.lists(
        st.sampled_from(
            (*codec.TARGET.words, "&lt;", "&gt;", "\u200d", "🇨🇳", "👩", "🏽", " ", "\n")
        ),
        max_size=40,
    ).map(lambda parts: "".join(parts).encode())
    return _mostly(st.one_of(bent, bent, commands, faces))


def _of_markup() -> st.SearchStrategy[bytes]:
    texts = st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass"))
    piece = st.one_of(st.sampled_from(markup.TARGET.words).map(str.encode), texts)
    soup = st.lists(piece, max_size=30).map(b"".join)
    nested = st.builds(
        lambda tag, count, inner: f"<{tag}>".encode() * count + inner,
        st.sampled_from(("b", "ul", "blockquote", "table", "div", "ol", "li", "a", "pre", "svg")),
        st.sampled_from((2, 40, 61, 1_500, 5_000)),
        soup,
    )
    long = st.builds(
        lambda char, count: char.encode() * count,
        st.sampled_from(("a", " ", "\x01", "\n", "<br>", "&", '"', "😀", "/::)", "<b>x</b>", "\\")),
        st.sampled_from((900, 4_100, 25_000, 201_000)),
    )
    return _mostly(st.one_of(soup, soup, nested, long))


def _of_media() -> st.SearchStrategy[bytes]:
    files = st.sampled_from(list(media_files.TARGET.seeds()))
    heads = st.builds(
        lambda word, rest: word.encode() + rest,
        st.sampled_from(media_files.TARGET.words),
        st.binary(max_size=300),
    )
    names = st.text(max_size=250).map(lambda name: name.encode("utf-8", "surrogatepass"))
    numbers = st.floats(-400, 400, allow_nan=False)
    places = st.builds(lambda lat, lon: f"geo:{lat:.7f},{lon:.7f}\n".encode(), numbers, numbers)
    return st.one_of(_damaged(files), _damaged(files), heads, names, places)


def _of_transactions() -> st.SearchStrategy[bytes]:
    known = [seed for seed in transactions.TARGET.seeds() if b"$e" in seed or b"m.typing" in seed]
    honest = [json.loads(seed) for seed in known]
    alone = [told for told in honest if "events" not in told]
    bent = st.sampled_from(alone).flatmap(_bent)
    several = st.lists(bent, max_size=4).map(lambda events: {"events": events})
    return _mostly(st.one_of(_as_json(bent), _as_json(several)))


SHAPES: Mapping[str, Callable[[], st.SearchStrategy[bytes]]] = MappingProxyType(
    {
        "codec": _of_codec,
        "markup": _of_markup,
        "media": _of_media,
        "transactions": _of_transactions,
    }
)
TARGETS: Mapping[str, Target] = MappingProxyType(
    {module.TARGET.name: module.TARGET for module in (codec, markup, media_files, transactions)}
)
