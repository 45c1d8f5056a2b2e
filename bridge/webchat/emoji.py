"""The 105 WeChat faces that the agent's console knows, as Unicode (protocol reference 3.9).

They arrive in three notations with one index: the WeChat code `/::)`, the bracketed name `[微笑]`,
and the image `<img class="qqemoji qqemoji0">`. Eleven codes hold `<`, `>` or `&`, so all must be
decoded before anybody parses the text as HTML, in which `/:<W>` is a tag.
"""

import html
import re
from collections.abc import Mapping
from types import MappingProxyType

_FACES: tuple[tuple[str, str, str], ...] = (
    ("/::)", "微笑", "🙂"),
    ("/::~", "撇嘴", "😕"),
    ("/::B", "色", "😍"),
    ("/::|", "发呆", "😶"),
    ("/:8-)", "得意", "😏"),
    ("/::<", "流泪", "😢"),
    ("/::$", "害羞", "😊"),
    ("/::X", "闭嘴", "🤐"),
    ("/::Z", "睡", "😴"),
    ("/::'(", "大哭", "😭"),
    ("/::-|", "尴尬", "😅"),
    ("/::@", "发怒", "😡"),
    ("/::P", "调皮", "😜"),
    ("/::D", "呲牙", "😁"),
    ("/::O", "惊讶", "😮"),
    ("/::(", "难过", "🙁"),
    ("/::+", "酷", "😎"),
    ("/:–-b", "冷汗", "😰"),
    ("/::Q", "抓狂", "😫"),
    ("/::T", "吐", "🤮"),
    ("/:,@P", "偷笑", "🤭"),
    ("/:,@-D", "愉快/可爱", "☺️"),
    ("/::d", "白眼", "🙄"),
    ("/:,@o", "傲慢", "😤"),
    ("/::g", "饥饿", "🤤"),
    ("/:|-)", "困", "🥱"),
    ("/::!", "惊恐", "😱"),
    ("/::L", "流汗", "😓"),
    ("/::>", "憨笑", "😄"),
    ("/::,@", "悠闲/大兵", "😌"),
    ("/:,@f", "奋斗", "💪"),
    ("/::-S", "咒骂", "🤬"),
    ("/:?", "疑问", "❓"),
    ("/:,@x", "嘘", "🤫"),
    ("/:,@@", "晕", "😵"),
    ("/::8", "疯了/折磨", "😖"),
    ("/:,@!", "衰", "😞"),
    ("/:!!!", "骷髅", "💀"),
    ("/:xx", "敲打", "🔨"),
    ("/:bye", "再见", "👋"),
    ("/:wipe", "擦汗", "😥"),
    ("/:dig", "抠鼻", "👃"),
    ("/:handclap", "鼓掌", "👏"),
    ("/:&-(", "糗大了", "😳"),
    ("/:B-)", "坏笑", "😈"),
    ("/:<@", "左哼哼", "😤"),
    ("/:@>", "右哼哼", "😤"),
    ("/::-O", "哈欠", "🥱"),
    ("/:>-|", "鄙视", "😒"),
    ("/:P-(", "委屈", "🥺"),
    ("/::'|", "快哭了", "😢"),
    ("/:X-)", "阴险", "😏"),
    ("/::*", "亲亲", "😘"),
    ("/:@x", "吓", "😨"),
    ("/:8*", "可怜", "🥺"),
    ("/:pd", "菜刀", "🔪"),
    ("/:<W>", "西瓜", "🍉"),
    ("/:beer", "啤酒", "🍺"),
    ("/:basketb", "篮球", "🏀"),
    ("/:oo", "乒乓", "🏓"),
    ("/:coffee", "咖啡", "☕"),
    ("/:eat", "饭", "🍚"),
    ("/:pig", "猪头", "🐷"),
    ("/:rose", "玫瑰", "🌹"),
    ("/:fade", "凋谢", "🥀"),
    ("/:showlove", "嘴唇/示爱", "💋"),
    ("/:heart", "爱心", "❤️"),
    ("/:break", "心碎", "💔"),
    ("/:cake", "蛋糕", "🎂"),
    ("/:li", "闪电", "⚡"),
    ("/:bome", "炸弹", "💣"),
    ("/:kn", "刀", "🗡️"),
    ("/:footb", "足球", "⚽"),
    ("/:ladybug", "瓢虫", "🐞"),
    ("/:shit", "便便", "💩"),
    ("/:moon", "月亮", "🌙"),
    ("/:sun", "太阳", "☀️"),
    ("/:gift", "礼物", "🎁"),
    ("/:hug", "拥抱", "🤗"),
    ("/:strong", "强", "👍"),
    ("/:weak", "弱", "👎"),
    ("/:share", "握手", "🤝"),
    ("/:v", "胜利", "✌️"),
    ("/:@)", "抱拳", "🙏"),
    ("/:jj", "勾引", "☝️"),
    ("/:@@", "拳头", "✊"),
    ("/:bad", "差劲", "👎"),
    ("/:lvu", "爱你", "🤟"),
    ("/:no", "NO", "🙅"),
    ("/:ok", "OK", "👌"),
    ("/:love", "爱情", "💑"),
    ("/:<L>", "飞吻", "😚"),
    ("/:jump", "跳跳", "🤸"),
    ("/:shake", "发抖", "🥶"),
    ("/:<O>", "怄火", "😠"),
    ("/:circle", "转圈", "💫"),
    ("/:kotow", "磕头", "🙇"),
    ("/:turn", "回头", "🔙"),
    ("/:skip", "跳绳", "🪢"),
    ("/:oY", "投降/挥手", "🏳️"),
    ("/:#-0", "激动", "🤩"),
    ("/:hiphot", "乱舞/街舞", "💃"),
    ("/:kiss", "献吻", "😽"),
    ("/:<&", "左太极", "☯️"),
    ("/:&>", "右太极", "☯️"),
)
"""By index: code, names separated by a slash, Unicode."""

_SWEAT = 17
"""Its code is printed with an en dash, `/:–-b`; real WeChat writes two hyphens."""

_BY_CODE: Mapping[str, str] = MappingProxyType(
    {code: face for code, _, face in _FACES} | {"/:--b": _FACES[_SWEAT][2]}
)
_BY_NAME: Mapping[str, str] = MappingProxyType(
    {name: face for _, names, face in _FACES for name in names.split("/")}
)

_ESCAPED: Mapping[str, str] = MappingProxyType(
    {
        "<": "(?:<|&lt;|&#60;|&#[xX]3[cC];)",
        ">": "(?:>|&gt;|&#62;|&#[xX]3[eE];)",
        "&": "(?:&amp;|&#38;|&#[xX]26;|&)",
        "'": "(?:'|&apos;|&#0?39;|&#[xX]27;)",
        "–": "(?:–|&ndash;|&#8211;|&#[xX]2013;)",
    }
)


def _pattern(code: str) -> str:
    """A code as a pattern, each character raw or escaped as HTML.

    A code of letters only ends where the letters end: `/:no` is a face, `/:north` is not.
    """
    body = "".join(_ESCAPED.get(char) or re.escape(char) for char in code)
    letters = code[2:].isalpha() and code[2:].isascii()
    return body + "(?![A-Za-z])" if letters else body


_TOKEN = re.compile(
    # Attribute values first and untouched: no link is to be changed by a face in its address.
    r"""(?P<attribute>\b(?:href|src)\s*=\s*(?:"[^"]*"|'[^']*'))"""
    r"|(?P<image><img\b[^<>]*>)"
    r"|\[(?P<name>" + "|".join(map(re.escape, _BY_NAME)) + r")\]"
    r"|(?P<code>" + "|".join(map(_pattern, _BY_CODE)) + ")"
)
_IMAGE_CLASS = re.compile(r"\bqqemoji([0-9]{1,3})\b")


def catalogue() -> tuple[tuple[str, str, str], ...]:
    """Every face by index: its code, its names separated by a slash, its Unicode."""
    return _FACES


def qqemoji(index: int) -> str | None:
    """The face of `qqemojiN`, or None if there is no such number."""
    return _FACES[index][2] if 0 <= index < len(_FACES) else None


def decode(text: str) -> str:
    """Put Unicode in place of all three notations and leave the rest as it is.

    Run it before parsing HTML. Codes may be raw (`/::<`) or escaped (`/::&lt;`).
    """
    return _TOKEN.sub(_face, text)


_CODE_OF: Mapping[str, str] = MappingProxyType(
    # Of two codes with one face the first; and what real WeChat writes for the sweating one.
    {face.rstrip("\ufe0f"): code.replace("–", "-") for code, _, face in reversed(_FACES)}
)
_FACE = re.compile(
    # With its style and skin; as a part of a joined emoji it is another picture.
    "(?<!\u200d)(" + "|".join(_CODE_OF) + ")\ufe0f?[\U0001f3fb-\U0001f3ff]?(?!\u200d)([A-Za-z])?"
)


def encode(text: str) -> str:
    """Put codes in place of the faces that have one, for consoles that know nothing else."""
    return _FACE.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    code, letter = _CODE_OF[found[1]], found[2] or ""
    # A code of letters only ends where the letters end (`/:no` and `/:north`).
    return f"{code} {letter}" if letter and code[-1].isalpha() else code + letter


def _face(found: re.Match[str]) -> str:
    if name := found["name"]:
        return _BY_NAME[name]
    if code := found["code"]:
        return _BY_CODE[html.unescape(code)]
    if image := _IMAGE_CLASS.search(found["image"] or ""):
        return qqemoji(int(image[1])) or found[0]
    return found[0]
