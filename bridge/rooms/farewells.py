"""Thanks and goodbyes that come after the end of a chat: they ask for nobody.

Whatever is written outside a chat asks for an agent. "Thank you, bye!" a minute after the agent has
closed the chat would put its writer into the queue once more, and an agent would be called to read
it. So a message of nothing but such words, soon after a chat, is answered instead: it was not
passed on, and 🔁 does pass it on, like any message that was reported.

Whoever asks or says anything else has more to say: one word that is not known here is enough, and
so is a question mark.
"""

# ruff: noqa: E501, ISC004 - Chinese and Japanese count as two columns

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bridge.conversation.chat import ended_at
from bridge.conversation.model import CustomerContent, CustomerText, Ended, Idle
from bridge.rooms.commands import narrow
from bridge.rooms.visit import Visit

SOON = 600_000
"""ms after a chat in which such words belong to it."""
LONGEST = 80
"""Characters; who writes more has more to say."""

_DAY = r"(?:rest of (?:your|the) )?(?:day|one|evening|night|weekend|week|afternoon|morning|time)"
_OF_ZH = (
    r"(?:耐心|[热熱]心|及[时時]|快速|大力|[细細]心|[贴貼]心)?的?(?:[帮幫]助|[帮幫]忙|[协協]助|解答|回[复覆答]|服[务務]|支持"
    r"|指[导導]|[讲講]解|[说說]明|[处處]理|理解)"
)
_THANKING_JA = r"(?=(?:誠に|本当に|大変|とても|どうも)?(?:ありがと|有り?難|感謝|助か))"

_THANKS = (
    r"(?:no,? |many )?(?:thanks|thank(?: you| u| ya|you)|thx|thnx|thanx|tks|tnx|ty)",
    r"tysm|tyvm|cheers|much appreciated|appreciated",
    r"(?:i |we )?(?:really |do |very much )?appreciate (?:it|that|this|you|(?:all )?(?:your|the) help)",
    r"you(?:'ve| have)? (?:been|were|are|'re) (?:so |very |really |most |too )*(?:helpful|kind|great)",
    r"bye(?: for now)?|good ?bye|good ?night|take care|all the best|best wishes|god bless(?: you)?",
    r"(?:best |kind )?regards|see (?:you|ya)(?: later| soon| around| next time| tomorrow)?",
    rf"have an? (?:very )?(?:nice |good |great |lovely |wonderful |pleasant )?{_DAY}",
    rf"enjoy (?:your|the) {_DAY}",
    rf"(?:[谢謝]{{1,2}}|多[谢謝]|感[谢謝]|感恩|感激)(?:[您你][们們]?|大家)?(?:的{_OF_ZH}|[帮幫]助|解答|支持)?",
    r"[您你]?辛苦(?:[您你][们們]?)?[了啦]|再[见見会會]|拜拜|掰掰?|(?:回[头頭]|下次|明天|改天)[见見]|晚安",
    r"祝(?:[您你][们們]?|大家)?|一切[顺順]利",
    r"ありがと(?:う|ー|ね)?(?:ござい(?:ます|ました))?|有り?難う(?:ござい(?:ます|ました))?|サンキュー",
    r"感謝(?:します|しています|いたします|申し上げます|です)|どうも|助かり(?:ました|ます)",
    r"さよ(?:う)?なら|バイバイ|またね|おやすみ(?:なさい)?|失礼(?:します|しました|いたします|いたしました|致します)",
    r"お疲れ(?:様|さま)(?:でした|です)?|お世話になりました|お世話(?:様|さま)でした|[よ良]い(?:一日|週末|夜)を",
    r"[🙏👋🌹❤♥💕😊🙂🥰😍💐🙇🫶]",
)
"""One of these is a farewell, with any of the others beside it."""
_TAKEN_NOTE = (
    r"ok(?:ay|ey|ie)?(?:[的了啦]|です)?|great|perfect|(?:very |all )?good|fine|nice|cool|awesome|excellent",
    r"wonderful|brilliant|amazing|fantastic|lovely|super|all ?right|alright|sure|got it|understood|noted",
    r"i (?:see|understand)|will do|no (?:problem|worries)|sounds good|you(?:'re| are) welcome|done|solved",
    r"that(?:'s| is) (?:great|perfect|fine|good|ok|okay)|nothing (?:else|more)|no (?:more|further) questions",
    r"that(?:'s| is| was| will be|'ll be) (?:all|it)(?: for now)?",
    r"好(?:的|嘞|滴|哒|吧)?|[嗯恩]{1,4}|[哦噢]{1,3}|收到|(?:明白|知道|[晓曉]得|[了瞭]解|清楚|懂)[了啦]|明白|[了瞭]解",
    r"行(?:的|了|吧)?|可以(?:的|了)?|[没沒]有?[问問][题題][了啦]?|[没沒]有?事(?:[了啦的]|[儿兒])?|[没沒]有[了啦]",
    r"[没沒]有?(?:其他|别的|別的|什么|什麼)(?:[问問][题題]|事|需要)?[了啦]|不(?:用|需要|必)[了啦]?",
    r"(?:已[经經])?(?:解[决決]|搞定|[处處]理好)[了啦]|(?:很|非常|太|真)(?:好|棒)|不[错錯]|就[这這][样樣](?:吧|了)?",
    r"(?:わか|分か)りました|了解(?:です|しました|いたしました)?|承知(?:しました|いたしました)|かしこまりました",
    r"(?:もう)?大丈夫です|問題(?:ない|ありません)(?:です)?|結構です|解決しました|以上です|特に(?:ありません|ないです)",
    r"なるほど(?:です)?|オッケー(?:です)?|[よ良]かった(?:です)?|完璧です|素晴らしい(?:です)?",
    r"[👍👌😄😀😁😃👏🎉💯🤝🫡✅]",
)
"""These alone take note of what was said last, and so does a row of them."""
_ALSO = (
    r"yes|yeah|yep|yup|oh|ah|then|是的|[对對]的?|那|先|[了啦哈呀啊喔唷囉嘍]|哈{2,6}",
    r"は[いー]い?|ええ|うん|いえ(?:いえ)?|いいえ|それでは|では|じゃあ?|もう|[ねよ]",
)
"""These beside them as well; alone they may answer a question."""
_BESIDE = (
    r"(?:very|so|ever so) much|a lot|a million|a bunch|a ton|(?:once )?again|anyway|indeed|and",
    r"(?:you|u) too|same to you|likewise|everyone|everybody|all|guys|team|sir|madam|ma'am|dear|my friend",
    r"for (?:now|everything|(?:all )?(?:of )?(?:your|the)(?: (?:great|kind|quick|fast|prompt|good|excellent))?"
    r" (?:help|time|support|patience|assistance|service|reply|answer|info|information|advice|kindness))",
    r"for (?:all|helping(?: me| us)?(?: out)?|being (?:so |very )?(?:helpful|kind|patient))",
    r"(?:that|it) (?:helped|helps)(?: a lot| me)?|very helpful|(?:it|that|everything) works(?: now| again)?",
    r"(?:problem |it(?:'s| is) )(?:solved|fixed)(?: now)?|that(?:'s| is| was) (?:so |very )?kind(?: of you)?",
    rf"的{_OF_ZH}|麻[烦煩][您你][们們]?[了啦]|打[扰擾](?:[您你])?[了啦]|非常|十分|真的|太|很|特[别別]|萬分|万分",
    r"[您你]也是|[您你]也一[样樣]|大家|[亲親]|客服|小姐姐?|先生|女士|老[师師]|[经經]理",
    r"(?:生活|工作|身[体體]|天天|每天|周末|週末|[万萬]事|心情|[节節]日|新年|事[业業])?"
    r"(?:愉快|[顺順]利|健康|[开開]心|快[乐樂]|[顺順]心|如意|平安)",
    r"本当に|ほんとに|誠に|とても|大変|すごく|色々と?|いろいろと?|ご?丁寧[なに]|迅速な|早速の|こちらこそ",
    rf"[ごお]?(?:対応|説明|案内|回答|返信|返事|協力|連絡|サポート|手伝い)を?"
    rf"(?:いただき|頂き|くださり|下さり)?(?:まして)?、?{_THANKING_JA}",
    r"(?:教えて|助けて)(?:いただき|頂き|くださり|下さり|くれて)(?:まして)?|お手数(?:を)?おかけしました",
    r"すみませんでした|さん|さま|様|担当者(?:様|さん)|(?:今後|これから)ともよろしくお願い(?:します|いたします)",
)
"""These beside thanks."""


def _longest_first(*lists: Iterable[str]) -> str:
    """Alternatives of a pattern that never goes back: what is longer comes before its part."""
    kinds = {one for patterns in lists for pattern in patterns for one in _alternatives(pattern)}
    return "|".join(sorted(kinds, key=lambda one: (-len(one), one)))


def _alternatives(pattern: str) -> Iterator[str]:
    """What a pattern allows, split where no bracket is open."""
    depth, begun = 0, 0
    for place, sign in enumerate(pattern):
        depth += (sign in "([") - (sign in ")]")
        if sign == "|" and depth == 0:
            yield pattern[begun:place]
            begun = place + 1
    yield pattern[begun:]


_BETWEEN = r"[\s,.;:!~…\-、。·'()^♪♂♀\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff]*"


def _nothing_but(*lists: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"{_BETWEEN}(?:(?>{_longest_first(*lists)})(?>{_BETWEEN}))+")


_FAREWELL = _nothing_but(_THANKS, _TAKEN_NOTE, _ALSO, _BESIDE)
_NOTE = _nothing_but(_TAKEN_NOTE, _ALSO)
_ANY_THANKS = re.compile(_longest_first(_THANKS))
_ANY_NOTE = re.compile(_longest_first(_TAKEN_NOTE))


def is_farewell(visit: Visit, content: CustomerContent, words: str) -> bool:
    """True for a text of nothing but thanks and goodbyes, soon after the end of a chat.

    Args:
        visit: of the room.
        content: what would be passed on.
        words: its words as they were typed.
    """
    conversation = visit.record.conversation
    ended = ended_at(conversation)
    if not isinstance(conversation.phase, Idle | Ended) or ended is None:
        return False
    if visit.now - ended >= SOON or not isinstance(content, CustomerText):
        return False
    return polite(visit, words)


def polite(visit: Visit, words: str) -> bool:
    """True for nothing but thanks and goodbyes, whenever they are said."""
    return reads_as_farewell(words, _agents(visit))


def reads_as_farewell(words: str, names: Iterable[str] = ()) -> bool:
    """True if there is nothing in it but thanks, goodbyes, and that what was said is understood.

    Args:
        words: as they were typed.
        names: of those to whom they may be said.
    """
    if len(words) > LONGEST:
        return False
    text = _plain(words)
    for called in sorted({one for name in names for one in _called(name)}, key=len)[::-1]:
        text = re.sub(rf"(?<![a-z0-9]){re.escape(called)}(?![a-z0-9])", " ", text)
    if _FAREWELL.fullmatch(text) is not None and _ANY_THANKS.search(text) is not None:
        return True
    return _NOTE.fullmatch(text) is not None and _ANY_NOTE.search(text) is not None


def _plain(words: str) -> str:
    text = narrow(words).casefold().replace("’", "'")
    return " ".join(text.split())


def _agents(visit: Visit) -> Iterator[str]:
    """Who took part in the newest chat that had a session."""
    for chat in reversed(visit.record.chats):
        if chat.session_id is not None:
            yield from (agent.name for agent in chat.agents)
            return


def _called(name: str) -> Iterator[str]:
    """What people say for a name: all of it, a part, and in Chinese what follows the surname."""
    text = _plain(name[:LONGEST])
    yield from (one for one in (text, *text.split()) if len(one) > 1)
    if len(text) in {3, 4} and all("\u4e00" <= sign <= "\u9fff" for sign in text):
        yield text[-2:]
