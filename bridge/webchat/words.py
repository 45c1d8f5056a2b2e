"""Text processing for both directions: emoji, splitting, names, escapes.

* Emoji: the 105 WeChat faces of the agent's console (protocol reference 3.9) arrive as a code
  (`/::)`), a name (`[微笑]`) or an image (`<img class="qqemoji qqemoji0">`). Eleven codes contain
  `<`, `>` or `&`, so they are decoded before HTML is parsed, where `/:<W>` would be a tag.
* Splitting: the server closes the link over an oversized frame (trap T23), so a text is split
  first: at a line end, else after a sentence or at a space, else anywhere but inside a grapheme
  (what is drawn as one character). No piece is blank, as the server refuses those (-17).
* Names of people, which are untrusted: cut to one line without format characters.
* Escapes, off by default: `escaped` for a desk that renders texts as HTML (trap T35), `guarded` for
  a server that parses `[1]` or `null` as JSON (trap T24).
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping

# --- emoji --------------------------------------------------------------------------------------

_TABLE = r"""
/::) 微笑 🙂  /::~ 撇嘴 😕  /::B 色 😍  /::| 发呆 😶  /:8-) 得意 😏
/::< 流泪 😢  /::$ 害羞 😊  /::X 闭嘴 🤐  /::Z 睡 😴  /::'( 大哭 😭
/::-| 尴尬 😅  /::@ 发怒 😡  /::P 调皮 😜  /::D 呲牙 😁  /::O 惊讶 😮
/::( 难过 🙁  /::+ 酷 😎  /:–-b 冷汗 😰  /::Q 抓狂 😫  /::T 吐 🤮
/:,@P 偷笑 🤭  /:,@-D 愉快/可爱 ☺️  /::d 白眼 🙄  /:,@o 傲慢 😤  /::g 饥饿 🤤
/:|-) 困 🥱  /::! 惊恐 😱  /::L 流汗 😓  /::> 憨笑 😄  /::,@ 悠闲/大兵 😌
/:,@f 奋斗 💪  /::-S 咒骂 🤬  /:? 疑问 ❓  /:,@x 嘘 🤫  /:,@@ 晕 😵
/::8 疯了/折磨 😖  /:,@! 衰 😞  /:!!! 骷髅 💀  /:xx 敲打 🔨  /:bye 再见 👋
/:wipe 擦汗 😥  /:dig 抠鼻 👃  /:handclap 鼓掌 👏  /:&-( 糗大了 😳  /:B-) 坏笑 😈
/:<@ 左哼哼 😤  /:@> 右哼哼 😤  /::-O 哈欠 🥱  /:>-| 鄙视 😒  /:P-( 委屈 🥺
/::'| 快哭了 😢  /:X-) 阴险 😏  /::* 亲亲 😘  /:@x 吓 😨  /:8* 可怜 🥺
/:pd 菜刀 🔪  /:<W> 西瓜 🍉  /:beer 啤酒 🍺  /:basketb 篮球 🏀  /:oo 乒乓 🏓
/:coffee 咖啡 ☕  /:eat 饭 🍚  /:pig 猪头 🐷  /:rose 玫瑰 🌹  /:fade 凋谢 🥀
/:showlove 嘴唇/示爱 💋  /:heart 爱心 ❤️  /:break 心碎 💔  /:cake 蛋糕 🎂  /:li 闪电 ⚡
/:bome 炸弹 💣  /:kn 刀 🗡️  /:footb 足球 ⚽  /:ladybug 瓢虫 🐞  /:shit 便便 💩
/:moon 月亮 🌙  /:sun 太阳 ☀️  /:gift 礼物 🎁  /:hug 拥抱 🤗  /:strong 强 👍
/:weak 弱 👎  /:share 握手 🤝  /:v 胜利 ✌️  /:@) 抱拳 🙏  /:jj 勾引 ☝️
/:@@ 拳头 ✊  /:bad 差劲 👎  /:lvu 爱你 🤟  /:no NO 🙅  /:ok OK 👌
/:love 爱情 💑  /:<L> 飞吻 😚  /:jump 跳跳 🤸  /:shake 发抖 🥶  /:<O> 怄火 😠
/:circle 转圈 💫  /:kotow 磕头 🙇  /:turn 回头 🔙  /:skip 跳绳 🪢  /:oY 投降/挥手 🏳️
/:#-0 激动 🤩  /:hiphot 乱舞/街舞 💃  /:kiss 献吻 😽  /:<& 左太极 ☯️  /:&> 右太极 ☯️
"""
"""The faces 0 to 104, five a line: code, names separated by a slash, Unicode."""
_WORDS = _TABLE.split()
FACES = tuple(zip(_WORDS[::3], _WORDS[1::3], _WORDS[2::3], strict=True))

# The code of face 17 is printed with an en dash, `/:–-b`; real WeChat writes two hyphens.
_BY_CODE = {code: face for code, _, face in FACES} | {"/:--b": FACES[17][2]}
_BY_NAME: Mapping[str, str] = {name: face for _, names, face in FACES for name in names.split("/")}

_ESCAPED: Mapping[str, str] = {
    "<": "(?:<|&lt;|&#60;|&#[xX]3[cC];)",
    ">": "(?:>|&gt;|&#62;|&#[xX]3[eE];)",
    "&": "(?:&amp;|&#38;|&#[xX]26;|&)",
    "'": "(?:'|&apos;|&#0?39;|&#[xX]27;)",
    "–": "(?:–|&ndash;|&#8211;|&#[xX]2013;)",
}


def _pattern(code: str) -> str:
    """Return the pattern of a code, raw or HTML-escaped; `/:no` must not match in `/:north`."""
    body = "".join(_ESCAPED.get(char) or re.escape(char) for char in code)
    letters = code[2:].isalpha() and code[2:].isascii()
    return body + "(?![A-Za-z])" if letters else body


_TOKEN = re.compile(
    # Attribute values match first and stay unchanged: an address may contain a code.
    r"""(?P<attribute>\b(?:href|src)\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+))"""
    # Not all images: one that is embedded as base64 has millions of characters. Nor is each
    # bracket compared with a hundred names.
    r"|(?P<image><img\b(?=[^<>]{0,300}\bqqemoji)[^<>]*>)"
    r"|\[(?=[^\[\]]{1,3}\])(?P<name>" + "|".join(map(re.escape, _BY_NAME)) + r")\]"
    r"|(?P<code>" + "|".join(map(_pattern, _BY_CODE)) + ")"
)
_IMAGE_CLASS = re.compile(r"\bqqemoji([0-9]{1,3})\b")


def qqemoji(index: int) -> str | None:
    return FACES[index][2] if 0 <= index < len(FACES) else None


def decode_emoji(text: str) -> str:
    """Replace all three notations, raw or escaped, with Unicode; call before parsing HTML."""
    # The pattern tries a hundred codes at each character, and nearly every text has none.
    return _TOKEN.sub(_face, text) if "/:" in text or "[" in text or "<img" in text else text


# If two codes have the same face, the first; and hyphens for face 17, as in real WeChat.
_CODE_OF = {face.rstrip("\ufe0f"): code.replace("–", "-") for code, _, face in reversed(FACES)}
_FACE = re.compile(
    # Include variation selector and skin tone; exclude parts of a joined (ZWJ) emoji.
    "(?<!\u200d)(" + "|".join(_CODE_OF) + ")\ufe0f?[\U0001f3fb-\U0001f3ff]?"
    "(?![\u200d\ufe0f\U0001f3fb-\U0001f3ff])([A-Za-z])?"
)


def encode_emoji(text: str) -> str:
    """Replace emoji with WeChat codes where there is one, for consoles that show nothing else."""
    return _FACE.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    code, letter = _CODE_OF[found[1]], found[2] or ""
    # Separate a code of letters from a following letter (`/:no` and `/:north`).
    return f"{code} {letter}" if letter and code[-1].isalpha() else code + letter


def _face(found: re.Match[str]) -> str:
    if name := found["name"]:
        return _BY_NAME[name]
    if code := found["code"]:
        return _BY_CODE[html.unescape(code)]
    if image := _IMAGE_CLASS.search(found["image"] or ""):
        return qqemoji(int(image[1])) or found[0]
    return found[0]


# --- splitting ----------------------------------------------------------------------------------

_BORDERS = (("\n",), ("。", "！", "？", "；", "…"), (" ", "\t", "\u3000", "，", "、"))
"""Characters to cut after, best first."""

_ENTITIES: Mapping[str, int] = {"&": 5, "<": 4, ">": 4}
"""Bytes of a character after HTML escaping."""
DEAREST = 6
"""Maximum bytes per character: a control character, escaped as `\\u001f`."""
_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_LONGEST_RUN = 200
"""Maximum letters of flags in a row that are counted back, and characters of a grapheme; a longer
one may be cut."""
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Unicode categories of invisible characters."""
_BLANK = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0\ufe0e\ufe0f")
"""Others: joiner, fillers of Hangul, empty Braille, variation selectors. People write them to send
nothing, or as their name."""


def is_unseen(text: str) -> bool:
    return all(unicodedata.category(char) in _UNSEEN or char in _BLANK for char in text)


def frame_bytes(text: str) -> int:
    """Return the bytes of `text` in a frame: escaped as JSON, in UTF-8, without its quotes."""
    # A lone surrogate is written as U+FFFD, which has three bytes as well.
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2


def split_text(text: str, max_bytes: int, *, html: bool = False) -> tuple[str, ...]:
    """Split `text` into pieces of at most `max_bytes` in a frame; with `html`, HTML-escaped.

    The joined pieces are the text again. A piece is longer only because of blanks, which cannot be
    a piece alone, or if not even one character fits. A blank text has no pieces.
    """
    last_word = len(text.rstrip()) - 1
    fits = len(text) * DEAREST <= max_bytes or _size(text, html=html) <= max_bytes
    if fits and last_word >= 0:
        return (text,)
    parts: list[str] = []
    start = 0
    while start <= last_word:
        end = _reach(text, start, max_bytes, html=html)
        first_word = len(text) - len(text[start:].lstrip())
        if end == len(text) or first_word == last_word:
            parts.append(text[start:])
            break
        # Keep a visible character on both sides of the cut.
        cut = _cut(text, first_word + 1, min(end, last_word))
        parts.append(text[start:cut])
        start = cut
    return tuple(parts)


def _size(text: str, *, html: bool) -> int:
    """Return the bytes of a text in a frame; with `html`, HTML-escaped first."""
    size = frame_bytes(text)
    if html:
        size += sum(text.count(char) * (dear - 1) for char, dear in _ENTITIES.items())
    return size


def _reach(text: str, start: int, max_bytes: int, *, html: bool) -> int:
    """Return the end of the longest piece that begins at `start`."""
    lengths = range(1, min(len(text) - start, max_bytes) + 1)  # a character has at least one byte
    fitting = bisect_right(
        lengths, max_bytes, key=lambda length: _size(text[start : start + length], html=html)
    )
    return start + fitting


def _cut(text: str, lowest: int, highest: int) -> int:
    """Return the best index to cut at in `lowest`..`highest`; `lowest` if the range is empty."""
    near = max(lowest, (lowest + highest) // 2)
    for marks in _BORDERS:
        cut = max(text.rfind(mark, near - 1, highest) for mark in marks) + 1
        if cut >= near and not _inside_character(text, cut):
            return cut
    near = max(lowest, highest - _LONGEST_RUN)
    whole = (cut for cut in range(highest, near - 1, -1) if not _inside_character(text, cut))
    return next(whole, max(lowest, highest))


def _inside_character(text: str, index: int) -> bool:
    """Return whether a cut before `index` would divide a grapheme."""
    before, after = text[index - 1], text[index]
    code = ord(after)
    if _JOINER in {before, after} or code in _SKIN_TONES or code in _TAGS:
        return True
    if unicodedata.category(after) in {"Mn", "Mc", "Me"} or (before == "\r" and after == "\n"):
        return True
    if code not in _FLAG_LETTERS:
        return False
    letters = index
    first = max(0, index - _LONGEST_RUN)
    while letters > first and ord(text[letters - 1]) in _FLAG_LETTERS:
        letters -= 1
    return (index - letters) % 2 == 1


# --- escapes ------------------------------------------------------------------------------------

_GUARD = "\u200b"


def escaped(text: str) -> str:
    """Return the text for a desk that renders HTML; quotes need no escape outside attributes."""
    return html.escape(text, quote=False)


def guarded(text: str) -> str:
    """Guard text that looks like JSON, by a zero-width space, from a server that would parse it."""
    words = text.strip()
    json_like = words == "null" or words[:1] + words[-1:] in {"[]", "{}"}
    return f"{_GUARD}{text}" if json_like else text


# --- names --------------------------------------------------------------------------------------

LONGEST_NAME = 60
"""Maximum length of a person's name, in characters."""
_JOINERS = "\u200c\u200d"
"""Format characters (ZWNJ, ZWJ) needed by names in some scripts, and by emoji."""
_TAGGED = "\U0001f3f4"
"""Black flag, the base of flags spelled with tag characters."""


def looks_like(name: str, others: Iterable[str]) -> bool:
    """Return whether a name may be taken for one of others, or for the user id of somebody."""
    return "@" in unicodedata.normalize("NFKC", name) or _seen(name) in map(_seen, others)


def _seen(name: str) -> str:
    """Return the letters and digits of a name, which people go by; if it has none, the name."""
    # A run of combining marks is sorted in quadratic time.
    base = unicodedata.normalize("NFKD", name[: 10 * LONGEST_NAME]).casefold()
    return "".join(filter(str.isalnum, base)) or name


def name_line(name: str) -> str:
    """Return a person's name on one line, cut at `LONGEST_NAME`; "" if nothing of it is visible.

    Control and format characters are removed: they break the line, change the reading direction or
    make different names look the same. Tags after a flag stay (England's is spelled with them).
    """
    name = name[: 10 * LONGEST_NAME]
    kinds = ((char, unicodedata.category(char)) for char in name)
    seen = (
        " " if kind in {"Cc", "Zl", "Zp"} else char
        for char, kind in kinds
        if kind != "Cf" or char in _JOINERS or (ord(char) in _TAGS and _TAGGED in name)
    )
    line = " ".join("".join(seen).split())
    if is_unseen(line):
        return ""
    if len(line) <= LONGEST_NAME:
        return line
    return f"{line[: _cut(line, 1, LONGEST_NAME - 1)].rstrip()}…"
