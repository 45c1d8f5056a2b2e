"""Parse opening hours and compute when they open. Pure.

    Mon-Fri 09:00-12:00, 13:00-18:00; Sat 10:00-14:00 Asia/Shanghai

Groups are separated by `;`; each has days (`Mon`, `Mon-Fri`, `Mon,Wed,Fri`, `daily`) and one or
more time spans. The last word is the IANA time zone. A span whose end is not after its begin
continues into the next day (`Fri 22:00-06:00`), but spoken ones are refused where the afternoon may
be meant (`_turns_back`); `24:00` is the end of a day. Holidays cannot be given: the call centre
knows them, and its answer decides. The same as people write it in Chinese, Japanese and English, as
`_ALIKE` lists:

    周一至周五 9:00-12:00、13:00-18:00，周六 10:00-14:00 北京时间
    工作日上午九点到十二点，下午1点半到6点 北京时间
    平日9時から18時まで 日本時間
    Monday to Friday 9 a.m. to 5 p.m. Europe/London

Times are local: 09:00 stays 09:00 across daylight saving changes. If such a change repeats or
skips a time, a begin is read as early and an end as late as possible: open rather than closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Annotated
from unicodedata import numeric
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SPAN = re.compile(r"([上下]?)\s*(\d{1,2})[:時](\d{2})\s*-\s*([上下翌]?)\s*(\d{1,2})[:時](\d{2})")
_GROUPS = re.compile(r";|(?<=\d)[\s,]+(?=[A-Za-z])")
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""Full-width letters, digits and signs; NFKC would take quadratic time on hostile text."""
_SIGNS = "一二三四五六日月火水木金土"
"""Days in Chinese, then Japanese: both share that of Sunday."""
_ONES = "一二两兩三四五六七八九"
_ALONE = rf"(?<![十{_ONES}])"  # 五六点 is five or six, though 周五六点 is Friday at six
_TIME = "(?:[标標][准準][时時][间間]?|[时時][间間])"
_ITS = "(?: standard)? time"
_ALIKE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"(?:北京|上海|中[国國]){_TIME}|(?i:\b(?:Beijing|Shanghai|China){_ITS}\b)", " Asia/Shanghai"),
    (rf"(?:[台臺][北灣湾]|中原|國家){_TIME}|(?i:\b(?:Taipei|Taiwan){_ITS}\b)", " Asia/Taipei"),
    (rf"香港{_TIME}|(?i:\b(?:Hong ?Kong{_ITS}|HKT)\b)", " Asia/Hong_Kong"),
    (rf"澳[门門]{_TIME}|(?i:\bMaca[ou]{_ITS}\b)", " Asia/Macau"),
    (rf"新加坡{_TIME}|(?i:\b(?:Singapore{_ITS}|SGT)\b)", " Asia/Singapore"),
    (rf"(?:日本|[东東]京){_TIME}|(?i:\b(?:(?:Japan|Tokyo){_ITS}|JST)\b)", " Asia/Tokyo"),
    # Of the offsets, only that of places without summer time; Etc/GMT+8 is another.
    (r"(?i:(?<!/)(?:UTC|GMT) ?\+ ?0?8(?::?00)?(?!\d))|[东東]八[区區]", " Asia/Shanghai"),
    (r"[至到~〜–—―−‐ー]|から|(?i:\b(?:to|until|till)\b)", "-"),
    (rf"[、・&和及と]|/(?=[ \d周週星{_SIGNS}])|(?i:\band\b)", ","),
    ("[()は]|まで|曜日?", " "),
    (  # 周五十点 is Friday at ten, as 50 is no hour; 周一二十点 may be Monday and Tuesday at ten.
        (
            rf"(?:(?<=[周週期拜][一二])|(?<=[周週期拜一二三四五六][三四五六])"
            rf"|(?<=[{_SIGNS}][-,][三四五六]))(?=十[{_ONES}]?[点點时時])"
            rf"|(?<=[周週期拜][二三四五六])(?=二十[{_ONES}]?[点點时時])"
        ),
        " ",
    ),
    (
        (
            rf"{_ALONE}[二三四五]?十[{_ONES}]?(?=小?[点點时時])"
            rf"|(?:{_ALONE}(?<![{_SIGNS}],)|(?<=[周週期拜][一二三四五六]))[零〇{_ONES}](?=[点點时時])"
            rf"|(?<=[点點时時])(?:[二三四五]?十[{_ONES}]?|[零〇][{_ONES}])"
        ),
        lambda found: f"{_number(found[0]):02}",
    ),
    ("毎週(?=[月火水木金土])|[每毎](?=[周週星礼禮])", ""),
    ("天", "日"),
    ("[每毎]日|年中無休|(?:全日|7[*x×])(?= ?24)|(?i:every ?day)", "daily"),
    (r"(?<!\d)24 ?(?:小[时時]|時間)(?=[ ;,]|$)", " 00:00-24:00"),
    (r"工作日|平日|(?i:\bweekdays?\b)", "Mon-Fri"),
    (r"[周週]末|(?i:\bweekends?\b)", "Sat,Sun"),
    (
        # Alone and together they are other things: 五一 (a holiday), 三月, 六日.
        (
            rf"(?:星期|[周週]|礼拜|禮拜)[一二三四五六日]+|(?<![^-,; ])[一二三四五六](?![{_SIGNS}])"
            r"|(?:(?<![^-,; ])日|[月火水木金土])[日月火水木金土]*"
        ),
        lambda days: ",".join(DAYS[_SIGNS.index(day) % _WEEK] for day in days[0] if day in _SIGNS),
    ),
    (rf"(?i:\b({'|'.join(DAYS)})(?:s|nes|rs|ur)?days?\b)", r"\1"),
    ("[点點时時]半", "時30"),
    (r"[点點时時](?=\d)", "時"),
    (r"[点點时時]整?(?!\d)", "時00"),
    (r"(?<=[:時]\d\d)分", ""),
    (r"中午 ?12(?=[:時]\d\d ?-)", "下0"),  # "中午12点到2点" ends at 14:00
    ("中午 ?(?=12)", ""),
    # Not 18点到24点，凌晨0点到2点: of which day?
    (r"上午|早上?|午前|朝|(?<!,)(?<![\d,] )凌晨(?= ?0?[0-6][:時])", "上"),
    ("(?:次日|第二日|翌日?|深夜(?= ?0?[0-6][:時])) ?上?", "翌"),
    # Not 晚上1点, which is after midnight.
    (r"下午|(?:晚上?+|夜)(?! ?0?[0-4][:時])|午後|夕方", "下"),
    (
        r"(?<![\d:])(1[0-2]|0?[1-9])(:\d\d)? ?(?i:([ap])\.?m\b\.?)",
        lambda hour: f"{'上' if hour[3] in 'aA' else '下'}{int(hour[1]) % 12}{hour[2] or ':00'}",
    ),
)
"""Other ways to write something, once full-width signs are narrow, and what they mean: 上 before
noon, 下 after, 翌 before noon of the next day, 時 between hours and minutes of a spoken time."""
_SHOWN = {"上": "AM ", "下": "PM ", "翌": "next day ", "時": ":"}
"""Signs of our own as errors show them."""
_WEEK = 7
_NOON, _DAY_END = 12 * 60, 24 * 60


@dataclass(frozen=True)
class Span:
    """One opening on a weekday (0 is Monday), in minutes after local midnight.

    An end that is not after the begin is on the next day.
    """

    day: int
    begins: int
    ends: int


@dataclass(frozen=True)
class Hours:
    """A week of opening hours: at least one span, in local time of a zone."""

    spans: tuple[Span, ...]
    zone: ZoneInfo

    def is_open(self, now: int) -> bool:
        """Return True if open at `now`, in ms since the epoch."""
        return any(begin <= now < end for begin, end in self._around(now))

    def opens(self, now: int) -> int:
        """Return the first open moment at or after `now`; both in ms since the epoch."""
        if self.is_open(now):
            return now
        return min(begin for begin, _ in self._around(now) if begin > now)

    def _around(self, now: int) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) in ms of the openings from yesterday to eight days ahead."""
        today = datetime.fromtimestamp(now / 1000, self.zone).date()
        for ahead in range(-1, _WEEK + 2):
            day = today + timedelta(days=ahead)
            for span in self.spans:
                if span.day == day.weekday():
                    until = day + timedelta(days=span.ends <= span.begins)
                    begin, end = self._readings(day, span.begins), self._readings(until, span.ends)
                    yield min(begin), max(end)

    def _readings(self, day: date, minute: int) -> list[int]:
        """Return both instants that a local time can mean (PEP 495, fold); usually equal."""
        days, minute = divmod(minute, _DAY_END)
        wall = datetime.combine(day + timedelta(days=days), time(minute // 60, minute % 60))
        moments = (wall.replace(fold=fold, tzinfo=self.zone) for fold in (0, 1))
        return [round(moment.timestamp() * 1000) for moment in moments]


class HoursError(ValueError):
    """Hours that cannot be read, with a message for the operator.

    `part` is the part at fault, as it was read; empty if something is missing. The message quotes
    it, or `whole`.
    """

    def __init__(self, why: str, part: str = "", whole: str = "") -> None:
        quoted = whole or part
        super().__init__(f'"{quoted}" {why}' if quoted else why)
        self.part = part


class ZoneError(HoursError):
    """Hours whose last word, `part`, is no time zone."""


def parse_hours(text: str) -> Hours:
    """Parse opening hours; raises HoursError."""
    typed = read = " ".join(text.translate(_NARROW).split())
    for written, meant in _ALIKE:
        read = re.sub(written, meant, read)
    week, _, zone_name = read.strip().rpartition(" ")
    if not zone_name[:1].isalpha() or zone_name in DAYS or re.search("[:時]", zone_name):
        raise HoursError(
            'must end with a time zone, as in "Mon-Fri 09:00-18:00; Sat 10:00-14:00 Asia/Shanghai"'
        )
    zone = read_zone(zone_name)
    if zone is None:
        zone_name = zone_name if zone_name in text else text.rsplit(maxsplit=1)[-1]
        raise ZoneError(
            "is not a time zone such as Asia/Shanghai or Europe/Berlin; an abbreviation such as CST"
            " may be one of several",
            zone_name,
        )
    groups = map(str.strip, _GROUPS.split(week))
    try:
        return Hours(tuple(span for group in groups for span in _group(group)), zone)
    except HoursError as error:
        if read == typed:
            raise
        week = re.sub(r"(?<=[a-z])(?=[上下\d])", " ", " ".join(week.split()))
        message, part = f'was read as "{week}", in which {error}', error.part
        for sign, shown in _SHOWN.items():
            message, part = message.replace(sign, shown), part.replace(sign, shown)
        raise HoursError(message, part, typed) from None


def read_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of an IANA name, in any case; None if unknown."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # OSError: a directory such as "Asia"
        known = _zones().get(name.casefold())
        return None if known is None else ZoneInfo(known)


@cache
def _zones() -> dict[str, str]:
    """List the time zones' names; reading all of them takes 0.1 s."""
    return {name.casefold(): name for name in available_timezones()}


def _group(group: str) -> Iterator[Span]:
    """Parse `Mon-Fri 09:00-12:00, 13:00-18:00` into spans."""
    match = re.match(r"([A-Za-z]+(?:\s*[-,]\s*[A-Za-z]+)*)(?:\s*:|,?(?=[ 上下\d]))(.+)", group)
    if match is None:
        raise HoursError(
            "must be days and times, such as Mon-Fri 09:00-18:00; holidays are unknown", group
        )
    times: list[tuple[int, int]] = []
    for part in re.split(r",|(?<=\d) (?=[上下])", match[2]):
        times.append(_times(part.strip(), times[-1][1] if times else 0))
    for day in _days(match[1]):
        for begins, ends in times:
            yield Span(day, begins, ends)


def _days(text: str) -> list[int]:
    if text.casefold() == "daily":
        return list(range(_WEEK))
    days: list[int] = []
    for part in text.split(","):
        ends = [_day(word.strip()) for word in part.split("-")]
        if len(ends) > 2:
            raise HoursError("must be a day, or two days such as Mon-Fri", part.strip())
        days += [(ends[0] + step) % _WEEK for step in range((ends[-1] - ends[0]) % _WEEK + 1)]
    return days


def _day(word: str) -> int:
    if (name := word.capitalize()) not in DAYS:
        raise HoursError(f"is not a day; use {', '.join(DAYS)} or daily", word)
    return DAYS.index(name)


def _times(text: str, before: int) -> tuple[int, int]:
    """Parse a span that follows one which ends at `before`, in minutes after midnight."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise HoursError("must be a start and an end time, such as 09:00-18:00", text)
    begins, ends = _minute(match[2], match[3]), _minute(match[5], match[6])
    if match[1] or match[4]:
        begins, ends = _in_halves(text, (begins, match[1]), (ends, match[4]))
    elif "時" in text and _turns_back(before, begins, ends or _DAY_END):
        raise HoursError("is not clear: write 09:00-18:00, by the 24-hour clock", text)
    if begins == _DAY_END:
        raise HoursError("begins at 24:00; write 00:00 of the next day", text)
    if begins == ends and match[4] != "翌":
        raise HoursError("is empty; for the whole day, write 00:00-24:00", text)
    return begins, ends or _DAY_END


def _in_halves(text: str, begin: tuple[int, str], end: tuple[int, str]) -> tuple[int, int]:
    """Read two times, of which at least one stands beside the half of the day that it is in.

    "下午2点到6点" says so once for both. 12 beside such a word has no clear meaning.
    """
    half, other = begin[1], end[1]
    times = (begin, (end[0], half if not other and end[0] < _NOON else other))
    unclear = any(word and (at // 60 == 12 or (word != "下" and at > _NOON)) for at, word in times)
    begins, ends = (at + _NOON if word == "下" and at < _NOON else at for at, word in times)
    wrong = ends > begins if other == "翌" else not other and ends <= begins
    bare = not half and begins < _NOON + 60 * (ends <= begins)
    if unclear or wrong or (bare and (other != "翌" or "時" in text)):  # not 10:00-次日2:00
        raise HoursError("is not clear: write 09:00-18:00, by the 24-hour clock", text)
    return begins, ends


def _turns_back(*times: int) -> bool:
    """True if spoken times probably go on after noon: 9時から5時, or 9点到12点，1点到6点.

    After 13:00 they are by the 24-hour clock: 22点到6点.
    """
    return any(later < earlier < _NOON + 60 for earlier, later in pairwise(times))


def _number(signs: str) -> int:
    """Return the number below 100 that Chinese signs mean: 十二, 两, 零五."""
    tens, ten, ones = signs.rpartition("十")
    first, last = (int(numeric(one[-1:] or "〇", 2)) for one in (tens, ones))  # 两 has no value
    return (first or 1) * 10 * len(ten) + last


def _minute(hour: str, minute: str) -> int:
    """Return minutes after midnight; 24:00 is the end of the day."""
    at = int(hour) * 60 + int(minute)
    if int(minute) > 59 or at > _DAY_END:
        raise HoursError("is not a time of day", f"{hour}:{minute}")
    return at


def _checked(text: str) -> str:
    if text:
        parse_hours(text)
    return text


OpeningHours = Annotated[str, AfterValidator(_checked)]
"""Validated opening hours, as written; empty if not given."""
