"""Thanks and goodbyes that come after the end of a chat: they ask for nobody.

Whatever is written outside a chat asks for an agent. "Thank you, bye!" a minute after the agent has
closed the chat would put its writer into the queue once more, and an agent would be called to read
it. So a message of nothing but such words, soon after a chat, is answered instead: it was not
passed on, and 🔁 does pass it on, like any message that was reported.
"""

from __future__ import annotations

import re
import unicodedata

from bridge.conversation.model import CustomerContent, CustomerText, Ended
from bridge.rooms.visit import Visit

SOON = 600_000
"""ms after a chat in which such words belong to it."""
LONGEST = 80
"""Characters; who writes more has more to say."""

_THANKS = (
    "thanks|thank you|thank u|thx|ty|cheers|bye|bye bye|goodbye|good bye|see you|good night|"
    "have a nice day|have a good day|"
    "谢谢|谢谢您|谢谢你|谢了|多谢|感谢|辛苦了|再见|拜拜|晚安|"
    "謝謝|謝謝您|謝謝你|謝了|多謝|感謝|再見|掰掰|"
    "ありがとう|ありがとうございます|ありがとうございました|どうも|さようなら|失礼します|"
    "失礼いたします|助かりました|お疲れ様でした|"
    "🙏|👋|🌹|❤|😊|🙂"
)
"""One of these has to be there."""
_BESIDE = (
    "ok|okay|yes|great|perfect|all good|that is all|that's all|very much|so much|a lot|again|"
    "for your help|for the help|and|"
    "好|好的|好嘞|行|嗯|哦|知道了|明白了|没事了|没有了|非常|麻烦您了|麻烦你了|啦|了|哈|你|您|"
    "沒事了|沒有了|麻煩您了|麻煩你了|"
    "はい|わかりました|分かりました|大丈夫です|本当に|誠に|では|それでは|"
    "👍|👌|😄|😀"
)


def _longest_first(words: str) -> str:
    """Alternatives of a pattern that never goes back: what is longer comes before its part."""
    return "|".join(sorted(words.split("|"), key=len, reverse=True))


_WORDS = _longest_first(f"{_THANKS}|{_BESIDE}")
_BETWEEN = r"[\s,.;:!?~…\-、。，！～·'\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff]*"
_ONLY = re.compile(rf"{_BETWEEN}(?:(?>{_WORDS})(?>{_BETWEEN}))+")
_THANKING = re.compile(_THANKS)


def is_farewell(visit: Visit, content: CustomerContent, words: str) -> bool:
    """True for a text of nothing but thanks and goodbyes, soon after the end of a chat.

    Args:
        visit: of the room.
        content: what would be passed on.
        words: its words as they were typed.
    """
    phase = visit.record.conversation.phase
    if not isinstance(phase, Ended) or visit.now - phase.since >= SOON:
        return False
    return isinstance(content, CustomerText) and reads_as_farewell(words)


def reads_as_farewell(words: str) -> bool:
    """True if there is nothing in it but thanks and goodbyes."""
    if len(words) > LONGEST:
        return False
    text = unicodedata.normalize("NFKC", words).casefold().replace("’", "'")
    return _ONLY.fullmatch(text) is not None and _THANKING.search(text) is not None
