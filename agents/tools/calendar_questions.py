"""A plain English question that is nothing but a question about dates, as a tool call. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from agents.tools.dates import CannotDate, last_one, next_one, read, zone_of
from agents.tools.words import read_number

Call = tuple[str, dict[str, Any]]

_LEAP_DAY = (2, 29)
_UNIT = r"(?P<unit>day|week|month|year)s?"
_AMOUNT = r"(?P<amount>\d{1,6}|a|an|[a-z]+(?:[ -][a-z]+)?)"
_IS = r"(?:is|was|are|will be|were)"
_START = re.compile(
    r"(?:(?:hi|hello|hey|please)[,!]? +)*(?:(?:can|could|would) you +(?:please +)?)?"
    r"(?:tell me +|calculate +|compute +)?",
    re.IGNORECASE,
)
_END = re.compile(r"(?:[ ,]+please)?[ ?.!]*$", re.IGNORECASE)


def parse(question: str, today: date) -> Call | None:
    """The call that answers the question, or None if it asks for anything else or more."""
    if len(question) > 200:  # noqa: PLR2004 - no question about a date is longer
        return None
    text = _END.sub("", " ".join(question.split()))
    text = text[_START.match(text).end() :]  # type: ignore[union-attr]  # it matches the empty string too
    for pattern, make in _FORMS:
        if found := pattern.fullmatch(text):
            with contextlib.suppress(CannotDate):  # then it is not a question of this form
                if (call := make(found, today)) is not None:
                    return call
    return None


def _between(found: re.Match[str], today: date) -> Call | None:
    start, end = read(found["a"], today), read(found["b"], today)
    if not start.year_given and end.year_given:
        start = start._replace(date=start.date.replace(year=end.date.year))
    elif not end.year_given and (
        start.year_given or not (start.date.month, start.date.day) >= _LEAP_DAY or start > end
    ):
        return None  # of which year? There might be a 29 February between them
    return "days_between", {"start": start.date.isoformat(), "end": end.date.isoformat(), "unit": _unit(found)}


def _until(found: re.Match[str], today: date) -> Call:
    end = next_one(read(found["a"], today), today)
    return "days_between", {"start": today.isoformat(), "end": end.isoformat(), "unit": _unit(found)}


def _since(found: re.Match[str], today: date) -> Call:
    start = last_one(read(found["a"], today), today)
    return "days_between", {"start": start.isoformat(), "end": today.isoformat(), "unit": _unit(found)}


def _weekday(found: re.Match[str], today: date) -> Call | None:
    day = read(found["a"], today)
    if day.year_given:
        return "weekday", {"date": day.date.isoformat()}
    tense = found.groupdict().get("tense") or ""
    if tense in ("was", "were", "did"):
        return "weekday", {"date": last_one(day, today).isoformat()}
    return "weekday", {"date": next_one(day, today).isoformat()}


def _shift(sign: int) -> Callable[[re.Match[str], date], Call | None]:
    def make(found: re.Match[str], today: date) -> Call | None:
        start = read(found.groupdict().get("a") or "today", today)
        amount = _amount(found["amount"])
        if amount is None or not start.year_given:
            return None
        return "add_to_date", {"date": start.date.isoformat(), "amount": sign * amount, "unit": _unit(found)}

    return make


def _leap(found: re.Match[str], _: date) -> Call | None:
    return ("leap_year", {"year": int(found["year"])}) if int(found["year"]) else None


def _clock(found: re.Match[str], _: date) -> Call | None:
    place = found.groupdict().get("place") or "UTC"
    return ("now", {"zone": place.strip()}) if zone_of(place) is not None else None


def _amount(text: str) -> int | None:
    if text.isdigit():
        return int(text)
    if text.lower() in ("a", "an"):
        return 1
    words = text.lower().replace("-", " ").split()
    number = read_number(words, 0)
    return number[0] if number is not None and number[1] == len(words) else None


def _unit(found: re.Match[str]) -> str:
    return f"{found['unit'].lower()}s" if "unit" in found.groupdict() and found["unit"] else "days"


def _f(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_TIME = r"(?:what time is it|what(?: is|'s) the (?:current )?time)(?: (?:right )?now)?"
_HOW_MANY = rf"how many (?:full |whole |calendar )?{_UNIT} "
_WHAT_DAY = r"(?:what|which) (?:day of the week|weekday|day)"
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], Call | None]], ...] = (
    (_f(rf"{_HOW_MANY}(?:{_IS} (?:there )?|lie |passed |elapsed )?between (?P<a>.+) and (?P<b>.+)"), _between),
    (_f(rf"{_HOW_MANY}(?:{_IS} (?:there |it )?)?from (?P<a>.+) (?:to|until|till) (?P<b>.+)"), _between),
    (_f(r"(?:what(?: is|'s) )?the (?:difference|number of (?P<unit>day)s) between (?P<a>.+) and (?P<b>.+)"), _between),
    (_f(r"(?P<unit>day)s between (?P<a>.+) and (?P<b>.+)"), _between),
    (
        _f(rf"{_HOW_MANY}(?:{_IS} (?:there |it |left )?|left |remain |to go )?(?:until|till|to|before) (?P<a>.+)"),
        _until,
    ),
    (_f(rf"{_HOW_MANY}(?:{_IS} it |have passed |has it been |passed |ago was )?since (?P<a>.+)"), _since),
    (_f(rf"{_HOW_MANY}ago was (?P<a>.+)"), _since),
    (_f(rf"{_WHAT_DAY} (?P<tense>{_IS})(?: it)? (?:on )?(?P<a>.+?)(?: on)?"), _weekday),
    (_f(rf"(?:on )?{_WHAT_DAY} (?P<tense>did|does|will|do) (?P<a>.+?) (?:fall|fall on|happen|land on)"), _weekday),
    (_f(rf"(?P<a>.+?) (?P<tense>{_IS}) {_WHAT_DAY}"), _weekday),
    (_f(r"(?:what(?: is|'s) )?the (?:day of the week|weekday) (?:of|on|for) (?P<a>.+)"), _weekday),
    (_f(r"(?:what(?: is|'s) )?(?:the )?(?P<a>today)(?:'s date)?"), _weekday),
    (_f(r"what(?: is|'s) the (?:date|day) (?P<a>today)"), _weekday),
    (_f(r"(?:what|which) (?:date|day) (?:is|was) (?:it )?(?P<a>today|tomorrow|yesterday)"), _weekday),
    (_f(r"what(?: is|'s) (?P<a>today|tomorrow|yesterday)'?s date"), _weekday),
    (_f(rf"(?:what|which) (?:date|day) {_IS} (?:it )?(?:in )?{_AMOUNT} {_UNIT} (?:after|from) (?P<a>.+)"), _shift(1)),
    (_f(rf"(?:what|which) (?:date|day) {_IS} (?:it )?{_AMOUNT} {_UNIT} before (?P<a>.+)"), _shift(-1)),
    (_f(rf"(?:what|which) (?:date|day) {_IS} (?:it )?(?:in )?{_AMOUNT} {_UNIT}(?: from now)?"), _shift(1)),
    (_f(rf"(?:what|which) (?:date|day) {_IS} (?:it )?{_AMOUNT} {_UNIT} ago"), _shift(-1)),
    (_f(rf"what(?: is|'s)(?: the date)? {_AMOUNT} {_UNIT} (?:after|from) (?P<a>.+)"), _shift(1)),
    (_f(rf"what(?: is|'s| was)(?: the date)? {_AMOUNT} {_UNIT} before (?P<a>.+)"), _shift(-1)),
    (_f(rf"(?:what(?: is|'s) )?(?P<a>.+?) plus {_AMOUNT} {_UNIT}"), _shift(1)),
    (_f(rf"(?:what(?: is|'s) )?(?P<a>.+?) minus {_AMOUNT} {_UNIT}"), _shift(-1)),
    (_f(rf"add {_AMOUNT} {_UNIT} to (?P<a>.+)"), _shift(1)),
    (_f(rf"subtract {_AMOUNT} {_UNIT} from (?P<a>.+)"), _shift(-1)),
    (_f(r"(?:is|was|will) (?:the year )?(?P<year>\d{1,4}) (?:be )?a leap year"), _leap),
    (
        _f(_TIME + r" in (?P<place>[\w/ +-]{2,40}?)(?: (?:right )?now)?"),
        _clock,
    ),
    (_f(_TIME + r"(?: utc)?"), _clock),
)
