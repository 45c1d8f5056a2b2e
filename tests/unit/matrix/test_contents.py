from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import CustomerLocation, CustomerMedia, CustomerText
from bridge.ids import EventId, UserId
from bridge.matrix.events import Readable, message, read_file, read_message, read_poll
from bridge.media.formats import OCTETS
from bridge.rooms.ports import MOST_ANSWERS, Corrected

Json = dict[str, object]


def words(text: str) -> Readable:
    return Readable(CustomerText(text), text)


def html(source: str, body: str = "as typed") -> Json:
    return {
        "msgtype": "m.text",
        "body": body,
        "format": "org.matrix.custom.html",
        "formatted_body": source,
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (html('<a href="https://matrix.to/#/@mei:b.c">Mei</a>, hello'), "Mei, hello"),
        (html('<span data-mx-spoiler="why">secret</span>'), "(why) ||secret||"),
        (html("<span data-mx-spoiler>a <b>secret</b></span>!"), "||a secret||!"),
        (html("<pre><code>a\n  b</code></pre>"), "a\n  b"),
        (html("x<sup>2</sup> and H<sub>2</sub>O"), "x^2 and H_2O"),
        (html('<span data-mx-maths="a^2+b^2">a<sup>2</sup></span>'), "a^2+b^2"),
        (html("<ol><li>a</li><li>b</li></ol>"), "1. a\n2. b"),
        (html("<table><tr><td>a</td><td>b</td></tr></table>"), "a | b"),
        (html('<img data-mx-emoticon src="mxc://s/i" alt=":cat:"> hi'), ":cat: hi"),
        (html('<p dir="rtl">שלום <b>עולם</b></p>'), "שלום עולם"),
        ({"msgtype": "m.text", "body": "שלום, מה שלומך?"}, "שלום, מה שלומך?"),
        ({"msgtype": "m.text", "body": "pay \u202e001\x00"}, "pay 001"),
        (html("<b>pay</b> &#x202e;&#8237;001"), "pay 001"),
        (
            {
                "msgtype": "m.text",
                "body": "[Mei](https://matrix.to/#/@mei:b.c): hello [x](https://y)",
            },
            "Mei: hello [x](https://y)",
        ),
        ({"msgtype": "m.text", "body": "word " * 10_000}, "word " * 10_000),
        # Clients take these for emphasis.
        (html("箱子 30<em>40</em>50 厘米", "箱子 30*40*50 厘米"), "箱子 30*40*50 厘米"),
        (html("login ada p<em>ss</em>word", "login ada p*ss*word"), "login ada p*ss*word"),
        (html("<strong>now</strong>, please", "**now**, please"), "now, please"),
        (html("3<del>5 days or 7</del>9", "3~5 days or 7~9"), "3~5 days or 7~9"),
        (html("\\server\\share", "\\\\server\\share"), "\\\\server\\share"),
        (html("¯_(ツ)_/¯", "¯\\_(ツ)_/¯"), "¯\\_(ツ)_/¯"),
        # NeoChat takes these for tags and leaves them out.
        (html("I am , List x", "I am <unknown>, List<String> x"), "I am <unknown>, List<String> x"),
        (html("I am &lt;none&gt; <b>yet</b>", "I am <none> **yet**"), "I am <none> yet"),
        (html("<b>now</b><br>please", "<b>now</b><br>please"), "now\nplease"),
    ],
)
def test_formatting_becomes_plain_text(content: Json, text: str) -> None:
    assert read_message(content) == words(text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (html("first_last@b.c &lt;co&gt;", r"first\_last@b.c \<co>"), "first_last@b.c <co>"),
        (html("¯_(ツ)_/¯ <b>now</b>", r"¯\_(ツ)\_/¯ **now**"), "¯_(ツ)_/¯ now"),
        (html(r"\server\share_1", r"\\server\\share\_1"), r"\server\share_1"),
        (html(r"C:\*.txt <b>now</b>", r"C:\*.txt **now**"), r"C:\*.txt **now**"),  # another client
        ({"msgtype": "m.text", "body": r"C:\_old"}, r"C:\_old"),
    ],
)
def test_an_edit_has_no_marks_of_the_editor(content: Json, text: str) -> None:
    """Element escapes what might be Markdown, and shows it without."""
    relation = {"rel_type": "m.replace", "event_id": "$1"}
    edit: Json = content | {"m.new_content": content, "m.relates_to": relation}
    corrected = message("m.room.message", edit, EventId("$2"), UserId("@a:b.c"))
    assert isinstance(corrected, Corrected)
    assert corrected.plain == text


def test_only_a_reply_loses_its_quotation() -> None:
    content: Json = {"msgtype": "m.text", "body": "> <@b:c> old\n> more\n\nnew"}
    reply: Json = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
    assert read_message(content | reply) == words("new")
    assert read_message(content) == words("> <@b:c> old\n> more\n\nnew")
    emote: Json = {"msgtype": "m.text", "body": "> * <@b:c> waves\n\nhi"}
    assert read_message(emote | reply) == words("hi")


def test_a_reply_keeps_words_in_angle_brackets() -> None:
    """The quotation's own are not the reply's: its HTML without them is complete."""
    reply: Json = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
    for typed, shown, text in (("**yes**", "<b>yes</b>", "yes"), ("I am <x>", "I am ", "I am <x>")):
        body = f"> <@b:c> are you <name>?\n\n{typed}"
        source = f"<mx-reply><blockquote>are you &lt;name&gt;?</blockquote></mx-reply>{shown}"
        assert read_message(html(source, body) | reply) == words(text)


@pytest.mark.parametrize(
    "typed", ["> all of it", "> my order\n\nhas not come", "> <b> or <i>?\n\nb"]
)
def test_a_reply_keeps_a_quotation_that_was_typed(typed: str) -> None:
    """Today's clients add no quotation of their own."""
    reply: Json = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
    assert read_message({"msgtype": "m.text", "body": typed} | reply) == words(typed)


@pytest.mark.parametrize(
    ("msgtype", "body", "claimed", "read"),
    [
        ("m.image", "👋", "", ("image", "👋.png", "image/png")),
        ("m.image", "👋", "video/webm", ("video", "👋.webm", "video/webm")),
        ("m.image", "a", "application/json", ("file", "a.json", "application/json")),
        ("m.image", "a.png", OCTETS, ("image", "a.png", "image/png")),
        ("m.video", "a", "", ("video", "a.mp4", "video/mp4")),
        ("m.file", "a.pdf", OCTETS, ("file", "a.pdf", "application/pdf")),
        ("m.file", "a", OCTETS, ("file", "a.bin", OCTETS)),
    ],
)
def test_a_file_whose_event_tells_no_type_or_another_kind(
    msgtype: str, body: str, claimed: str, read: tuple[str, str, str]
) -> None:
    """Stickers of FluffyChat may tell no type; those of Telegram may be videos or drawings."""
    content: Json = {"msgtype": msgtype, "body": body, "url": "mxc://s/i"}
    kind, name, mime = read
    media = CustomerMedia(kind, name, "mxc://s/i", mime)
    assert read_message(content | {"info": {"mimetype": claimed}}) == Readable(media)


@pytest.mark.parametrize("named", [True, False])
def test_a_reply_with_a_file_has_neither_the_quotation_nor_its_own_name_as_words(
    named: bool,
) -> None:
    """FluffyChat writes the quotation before the name, and HTML beside it."""
    quoted = "<mx-reply><blockquote>old</blockquote></mx-reply>"
    content: Json = {
        "msgtype": "m.image",
        "body": "> <@b:c> old\n\ncat.png",
        "format": "org.matrix.custom.html",
        "formatted_body": f"{quoted}cat.png",
        "url": "mxc://s/i",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}},
    }
    media = Readable(CustomerMedia("image", "cat.png", "mxc://s/i", "image/png"))
    assert read_message(content | ({"filename": "cat.png"} if named else {})) == media


def gallery(*items: Json, **more: object) -> Json:
    return {"msgtype": "dm.filament.gallery", "itemtypes": list(items)} | more


def test_several_files_in_one_message() -> None:
    """Element X and others (MSC4274); a file's own caption follows the common one."""
    cat: Json = {"itemtype": "m.image", "body": "cat.png", "url": "mxc://s/1"}
    told: Json = {"itemtype": "x", "body": "terms", "filename": "a.pdf", "url": "mxc://s/2"}
    pdf = CustomerMedia("file", "a.pdf", "mxc://s/2", "application/pdf")
    image = CustomerMedia("image", "cat.png", "mxc://s/1", "image/png", more=(pdf,))
    assert read_message(gallery(cat, told, body="as asked")) == Readable(image, "as asked\nterms")
    assert read_message(gallery(cat, told | {"body": "a.pdf"}, body="")) == Readable(image)
    lost = cat | {"url": "https://x"}
    assert read_message(gallery(cat, lost)) == read_message(gallery()) == "unreadable.malformed"


def test_voice_message() -> None:
    content: Json = {
        "msgtype": "m.audio",
        "body": "Voice message.ogg",
        "url": "mxc://s/i",
        "info": {"mimetype": "audio/ogg", "duration": 2500},
        "org.matrix.msc3245.voice": {},
    }
    media = CustomerMedia("voice", "Voice message.ogg", "mxc://s/i", "audio/ogg")
    assert read_message(content) == Readable(media)
    del content["org.matrix.msc3245.voice"]
    media = CustomerMedia("audio", "Voice message.ogg", "mxc://s/i", "audio/ogg")
    assert read_message(content) == Readable(media)


@pytest.mark.parametrize(
    ("content", "poi"),
    [
        ({"geo_uri": "geo:31.2,121.5;u=35", "body": "My office"}, "My office"),
        ({"geo_uri": "geo:31.2,121.5", "body": "Location geo:31.2,121.5 at 12:00"}, ""),
        ({"geo_uri": "geo:31.2,121.5", "body": "https://osm.example/?mlat=31.2&mlon=121.5"}, ""),
        (
            {
                "geo_uri": "geo:31.2,121.5",
                "body": "x",
                "org.matrix.msc3488.location": {"description": " The \n office "},
            },
            "The office",
        ),
        ({"body": "", "m.location": {"uri": "geo:31.2,121.5"}}, ""),
        (
            {
                "body": "Location: Café\nMain Street 1\nhttps://maps.example/?q=31.2,121.5",
                "geo_uri": "geo:31.2,121.5",
            },
            "Location: Café Main Street 1",
        ),
        (
            html('Location: <a href="https://maps.example/?q=31.2,121.5">Café</a><br>Main Street 1')
            | {"msgtype": "m.location", "geo_uri": "geo:31.2,121.5"},
            "Location: Café Main Street 1",
        ),
        ({"body": "https://map.example/?mlat=31.2#map=16", "geo_uri": "geo:31.2,121.5"}, ""),
    ],
)
def test_location(content: Json, poi: str) -> None:
    expected = Readable(CustomerLocation(31.2, 121.5, poi))
    assert read_message({"msgtype": "m.location"} | content) == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"body": "Office", "geo_uri": "geo:91,2"}, "Office (geo:91,2)"),
        ({"geo_uri": "geo:moon"}, "geo:moon"),
        ({"body": "at geo:moon", "geo_uri": "geo:moon"}, "at geo:moon"),
        ({"body": "the office"}, "the office"),
    ],
)
def test_invalid_location_becomes_text(content: Json, text: str) -> None:
    assert read_message({"msgtype": "m.location"} | content) == words(text)


def test_empty_location_is_undelivered() -> None:
    assert read_message({"msgtype": "m.location"}) == "undelivered.blank"


POLL = "org.matrix.msc3381.poll.start"
TEXT = "org.matrix.msc1767.text"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {
                POLL: {
                    "question": {TEXT: "Which?"},
                    "answers": [{"id": "a", TEXT: "Red"}, {TEXT: "Blue"}],
                }
            },
            "Which?\n1. Red\n2. Blue",
        ),
        (
            {
                "m.poll": {
                    "question": {"m.text": [{"body": "Which?"}]},
                    "answers": [
                        {"m.id": "a", "m.text": [{"mimetype": "text/html"}, {"body": "Red"}]}
                    ],
                }
            },
            "Which?\n1. Red",
        ),
        (
            {POLL: {"question": {"body": "Which?"}, "answers": [7, {}, {TEXT: "Red"}]}},
            "Which?\n1. Red",
        ),
        ({POLL: {"question": {}}, TEXT: "Which?\n1. Red"}, "Which?\n1. Red"),
        ({POLL: 7, "m.text": [{"body": "Which?"}]}, "Which?"),
    ],
)
def test_poll(content: Json, text: str) -> None:
    written = read_poll(content)
    assert isinstance(written, Readable)
    assert (written.content, written.wrap) == (CustomerText(text), "agent.poll")


def test_poll_answers_keep_their_ids() -> None:
    answers = [{"id": "a", TEXT: "Red"}, {"m.id": "b", "m.text": [{"body": "Blue"}]}, {TEXT: "?"}]
    written = read_poll({POLL: {"question": {TEXT: "Which?"}, "answers": answers}})
    assert isinstance(written, Readable)
    assert written.answers == (("a", "Red"), ("b", "Blue"), ("", "?"))


def test_number_of_poll_answers_is_limited() -> None:
    answers = [{TEXT: str(number)} for number in range(100)]
    written = read_poll({POLL: {"question": {TEXT: "?"}, "answers": answers}})
    assert isinstance(written, Readable)
    assert isinstance(written.content, CustomerText)
    assert len(written.content.text.splitlines()) == MOST_ANSWERS + 1


def test_sticker_and_caption() -> None:
    content: Json = {"body": "**look**", "filename": "a.png", "url": "mxc://s/i"}
    content |= {"format": "org.matrix.custom.html", "formatted_body": "<b>look</b>"}
    media = CustomerMedia("image", "a.png", "mxc://s/i", "image/png")
    assert read_file(content, "image") == Readable(media, "look")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(POLL, TEXT, "m.poll", "m.text", "body", "question", "answers", "url"),
                    *("info", "geo_uri", "m.location", "uri", "description", "file", "msgtype"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
KINDS = ["m.text", "m.image", "m.audio", "m.location", "m.emote", "x"]


@given(st.dictionaries(st.sampled_from([POLL, TEXT, "m.poll", "body", "geo_uri"]), ANYTHING))
def test_hostile_polls_and_files_never_raise(content: Json) -> None:
    read_poll(content)
    read_file(content, "image")


@given(ANYTHING, st.sampled_from(KINDS), ANYTHING)
def test_hostile_messages_never_raise(content: object, kind: str, relation: object) -> None:
    fields = content if isinstance(content, dict) else {"body": content, "m.location": content}
    written = read_message(fields | {"msgtype": kind, "m.relates_to": relation})
    if isinstance(written, Readable) and isinstance(written.content, CustomerText):
        assert written.content.text.strip()
