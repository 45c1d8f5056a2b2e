"""Examples of events with relations: replies, threads, edits, reactions, redactions."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.event_kinds import (
    AGENTS,
    ANOTHERS,
    CAPTIONED,
    LONG,
    MXC,
    ORDER,
    OWN,
    PICTURE,
    POLL,
    REPLY,
    THUMB,
    Example,
    Json,
    event,
    file,
    html,
    message,
)


def relations() -> Iterator[Example]:
    yield Example(
        "reply to an agent",
        message(msgtype="m.text", body="M", **{"m.relates_to": REPLY}),
        about=AGENTS,
    )
    yield Example(
        "reply with a file",
        file("m.image", "cat.png", "image/png", **{"m.relates_to": REPLY}),
        about=AGENTS,
    )
    yield Example(
        "reply to a message that is forgotten",
        message(msgtype="m.text", body="M", **{"m.relates_to": REPLY}),
        forgotten=True,
    )
    thread = {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True, **REPLY}
    yield Example(
        "message in a thread (for three minutes the agent's answers go there)",
        message(msgtype="m.text", body="M", **{"m.relates_to": thread}),
        about=AGENTS,
    )
    yield Example(
        "reply in a thread",
        message(
            msgtype="m.text", body="M", **{"m.relates_to": thread | {"is_falling_back": False}}
        ),
        about=AGENTS,
    )
    fallback = "> <@webchat_mei:example.org> Which size?\n\nM"
    yield Example(
        "reply with the quotation that older clients put before it",
        html(
            fallback,
            "<mx-reply><blockquote>Which size?</blockquote></mx-reply>M",
            **{"m.relates_to": REPLY},
        ),
        about=AGENTS,
    )
    quoted = "> <@webchat_mei:example.org> Which size?\n\ncat.png"
    yield Example(
        "the same with a file (FluffyChat)",
        file("m.image", quoted, "image/png", filename="cat.png", **{"m.relates_to": REPLY}),
        about=AGENTS,
    )
    yield Example(
        "reply that quotes something else, by hand",
        message(msgtype="m.text", body="> 7411\n\nnot mine", **{"m.relates_to": REPLY}),
        about=AGENTS,
    )
    yield Example(
        "reply to a picture",
        message(msgtype="m.text", body="this one", **{"m.relates_to": REPLY}),
        about=PICTURE,
    )
    yield from _corrections()


def _corrections() -> Iterator[Example]:
    replaced = {"rel_type": "m.replace", "event_id": "$x"}

    def edit(text: str) -> Json:
        new = {"msgtype": "m.text", "body": text}
        return message(
            msgtype="m.text", body=f"* {text}", **{"m.new_content": new, "m.relates_to": replaced}
        )

    yield Example("correction (`m.replace`)", edit(LONG.replace("7411", "4711")), about=OWN)
    yield Example("correction of most of a message", edit("Forget it"), about=OWN)
    yield Example("correction that changes no word", edit(f"{LONG} "), about=OWN)
    yield Example("correction of a mistyped command", edit("!wc queue show"), about=ORDER)
    yield Example("correction of what is forgotten", edit("4711"), forgotten=True)
    yield Example("correction of another person's message", edit("9"), about=ANOTHERS)
    yield Example("correction of an agent's message", edit("9"), about=AGENTS)
    plain = message(msgtype="m.text", body="* Forget it", **{"m.relates_to": replaced})
    yield Example("correction without `m.new_content`", plain, about=OWN)
    odd = {"m.new_content": {"msgtype": "org.example.new"}, "m.relates_to": replaced}
    yield Example("correction into an unknown kind", message(msgtype="m.text", body="x", **odd))

    def edit_file(url: str, **new: object) -> Json:
        content = {"msgtype": "m.image", "url": url, "info": {"mimetype": "image/png"}} | new
        relation = {"m.new_content": content, "m.relates_to": replaced}
        return event("m.room.message", content | relation)

    told = {"filename": "cat.png", "body": "my cat sleeps"}
    yield Example("correction of a caption", edit_file(MXC, **told), about=CAPTIONED)
    yield Example("caption put to a picture", edit_file(MXC, **told), about=PICTURE)
    yield Example("caption taken away", edit_file(MXC, body="cat.png"), about=CAPTIONED)
    other = edit_file("mxc://example.org/other", body="dog.png")
    yield Example("another picture in its place", other, about=PICTURE)


def gestures() -> Iterator[Example]:
    """Yield reactions and redactions, which are never encrypted."""
    reacted = {"rel_type": "m.annotation", "event_id": "$x", "key": "👍"}
    picture = reacted | {"key": "mxc://example.org/party"}
    again = reacted | {"key": "🔁"}
    named: Json = {"m.relates_to": picture, "shortcode": ":party:"}
    for name, about, content in (
        ("(config `bridge.tell_agents.reactions`)", AGENTS, {"m.relates_to": reacted}),
        ("to a message of one's own", OWN, {"m.relates_to": reacted}),
        ("with a picture that has a name", AGENTS, named),
        ("with a picture that has none", AGENTS, {"m.relates_to": picture}),
        ("🔁 to a message that has arrived", OWN, {"m.relates_to": again}),
        ("to something of ours", "", {"m.relates_to": reacted}),
    ):
        raw = event("m.reaction", {**content})
        yield Example(f"`m.reaction` {name}", raw, about=about, never_sealed=True)
    for name, about in (
        ("(config `bridge.tell_agents.withdrawals`; our copy is erased)", OWN),
        ("of an agent's message", AGENTS),
        ("of a picture", PICTURE),
        ("of a poll", POLL),
        ("of a reaction", THUMB),
        ("of a vote", ""),
    ):
        raw = event("m.room.redaction", {"redacts": "$x"})
        yield Example(f"`m.room.redaction` {name}", raw, about=about, never_sealed=True)
