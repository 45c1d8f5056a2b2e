"""An agent's message that the host sends, as its ghost cannot."""

from __future__ import annotations

import pytest

from bridge.matrix.render import Content, location_content, spoken_for, text_contents
from bridge.webchat.frames import AgentLocation


@pytest.mark.parametrize(
    ("fragment", "body", "formatted"),
    [
        ("hello", "Mei: hello", "<strong>Mei:</strong> hello"),
        ("1 < 2\nyes", "Mei: 1 < 2\nyes", "<strong>Mei:</strong> 1 &lt; 2<br>yes"),
        ("<b>no</b>", "Mei: no", "<strong>Mei:</strong> <b>no</b>"),
    ],
)
def test_text_is_prefixed_with_the_agents_name(fragment: str, body: str, formatted: str) -> None:
    (content,) = text_contents(fragment)
    spoken = spoken_for("Mei", content)
    assert (spoken["body"], spoken["formatted_body"]) == (body, formatted)
    assert spoken["format"] == "org.matrix.custom.html"
    assert spoken["m.mentions"] == {}


def test_name_is_escaped_in_html() -> None:
    (content,) = text_contents("x")
    assert spoken_for("<i>", content)["formatted_body"] == "<strong>&lt;i&gt;:</strong> x"


def test_a_file_keeps_its_name_and_gets_a_caption() -> None:
    content: Content = {
        "msgtype": "m.file",
        "body": "a.txt",
        "filename": "a.txt",
        "url": "mxc://h/a",
    }
    assert spoken_for("Mei", content) == content | {"body": "Mei:"}


def test_a_place_keeps_its_coordinates() -> None:
    content = location_content(AgentLocation(31.2, 121.5, "here", "baidu"))
    spoken = spoken_for("Mei", content)
    assert spoken["geo_uri"] == content["geo_uri"]
    assert str(spoken["body"]).startswith("Mei: 📍 here\n")
    assert "formatted_body" not in spoken
