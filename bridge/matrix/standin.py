"""An agent's message in the host's mouth, for an agent whose ghost may not enter the room. Pure.

Not every room lets us bring somebody in: inviting may be the admins' right, or a ghost was banned.
The words must arrive all the same, and it must be plain whose they are.
"""

from __future__ import annotations

import html as html_text

from bridge.matrix.render import HTML_FORMAT, MAX_FORMATTED, Content, as_html
from bridge.webchat.splitting import frame_bytes


def spoken_for(name: str, content: Content) -> Content:
    """The content as the host sends it.

    Args:
        name: the agent's.
        content: of an `m.room.message` as the ghost would have sent it.

    Returns:
        "Name: text"; a file has the name as its caption (MSC2530), a place before its address.
    """
    body = str(content.get("body", ""))
    plain, bold = f"{name}: ", f"<strong>{html_text.escape(name)}:</strong> "
    if "filename" in content:
        return content | {"body": plain.strip()}
    spoken = content | {"body": plain + body}
    formatted = content.get("formatted_body")
    if isinstance(formatted, str):
        return spoken | {"formatted_body": bold + formatted}
    if content.get("msgtype") != "m.text":
        return spoken
    lines = as_html(body)
    if frame_bytes(body + lines) > MAX_FORMATTED:
        return spoken  # both would be more than an event may hold
    return spoken | {"format": HTML_FORMAT, "formatted_body": bold + lines}
