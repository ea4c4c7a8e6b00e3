"""Exact dates, in the Gregorian calendar (extended to before 1582). No clock of its own: today is always given."""

from __future__ import annotations

import calendar
import re
from datetime import MAXYEAR, date, datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

Unit = Literal["days", "weeks", "months", "years"]
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name} | {"sept": 9}
_MONTH = f"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+)?"
_FORMS = tuple(
    re.compile(rf"(?:the\s+)?{_WEEKDAY}(?:the\s+)?{form}", re.IGNORECASE)
    for form in (
        rf"{_YEAR}-(?P<month>\d{{2}})-(?P<day>\d{{2}})",
        rf"{_YEAR}/(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+{_YEAR})?",
        rf"{_MONTH}\s+(?:the\s+)?{_DAY}(?:,?\s+{_YEAR})?",
    )
)
_SLASHED = re.compile(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})")
_FEWEST_DAYS = 12  # a number above it cannot be a month
_GREGORIAN = date(1582, 10, 15)


class CannotDate(ValueError):
    """Not a date, or one that could be two, or outside the years 1 to 9999. Says which."""


class Day(NamedTuple):
    """A date as somebody wrote it. `year_given` is false where it was left to be understood."""

    date: date
    year_given: bool = True


def read(text: str, today: date) -> Day:
    """The date in `text`: ISO, or written out in English, or today, tomorrow, yesterday.

    Raises:
        CannotDate: see there. 03/04/2024 is refused: it is April in some countries and March in others.
    """
    plain = " ".join(text.split()).strip(" .,?").lower()
    if plain in ("today", "now"):
        return Day(today)
    if plain in ("tomorrow", "yesterday"):
        return Day(today + timedelta(days=1 if plain == "tomorrow" else -1))
    for form in _FORMS:
        if found := form.fullmatch(plain):
            month = found["month"].rstrip(".")
            given = found["year"]
            year = int(given) if given else today.year
            return Day(_made(year, _MONTHS.get(month) or int(month), int(found["day"])), given is not None)
    if slashed := _SLASHED.fullmatch(plain):
        first, second, year = map(int, slashed.groups())
        if first != second and max(first, second) <= _FEWEST_DAYS:
            raise CannotDate(f"{plain} could be two dates; write it as {year}-MM-DD")
        month, day = (second, first) if first > _FEWEST_DAYS else (first, second)
        return Day(_made(year, month, day))
    raise CannotDate(f"not a date: {text[:40]!r}; write it as YYYY-MM-DD")


def between(start: date, end: date) -> str:
    """How far apart two dates are, in days and in calendar terms."""
    days = (end - start).days
    text = f"{days} {_plural('day', days)}"
    first, last = sorted((start, end))
    months = (last.year - first.year) * 12 + last.month - first.month
    if _shifted_months(first, months) > last:
        months -= 1
    rest = (last - _shifted_months(first, months)).days
    parts = [(months // 12, "year"), (months % 12, "month"), (rest, "day")]
    said = ", ".join(f"{count} {_plural(word, count)}" for count, word in parts if count)
    return f"{text} ({said})" if months else text


def count(start: date, end: date, unit: Unit) -> int:
    """Whole units from `start` to `end`; negative backwards."""
    if start > end:
        return -count(end, start, unit)
    days = (end - start).days
    if unit in ("days", "weeks"):
        return days if unit == "days" else days // 7
    months = (end.year - start.year) * 12 + end.month - start.month
    if _shifted_months(start, months) > end:
        months -= 1
    return months if unit == "months" else months // 12


def shifted(start: date, amount: int, unit: Unit) -> date:
    """`start` moved by so many units. A day that the month does not have becomes its last one.

    Raises:
        CannotDate: outside the years 1 to 9999.
    """
    if abs(amount) > MAXYEAR * 366:
        raise CannotDate("outside the years 1 to 9999")
    if unit in ("months", "years"):
        return _shifted_months(start, amount * (12 if unit == "years" else 1))
    try:
        return start + timedelta(days=amount * (7 if unit == "weeks" else 1))
    except OverflowError as error:
        raise CannotDate("outside the years 1 to 9999") from error


def next_one(day: Day, today: date) -> date:
    """The day that is meant by a date in the future: without a year, the next one."""
    return day.date if day.year_given or day.date >= today else _shifted_months(day.date, 12)


def last_one(day: Day, today: date) -> date:
    """The day that is meant by a date in the past: without a year, the last one."""
    return day.date if day.year_given or day.date <= today else _shifted_months(day.date, -12)


def described(day: date) -> str:
    """A date with its weekday, and a word of caution where the calendar of its time was another one."""
    name = f"{calendar.day_name[day.weekday()]}, {day.day} {calendar.month_name[day.month]} {day.year:04d}"
    return f"{name} ({day.isoformat()}{', Gregorian calendar' if day < _GREGORIAN else ''})"


def is_leap(year: int) -> bool:
    """Whether a year of the Gregorian calendar has 366 days."""
    return calendar.isleap(year)


@cache
def all_zones() -> frozenset[str]:
    """The zones this machine knows. The first call reads a folder of hundreds of files."""
    return frozenset(available_timezones())


def zone_of(place: str) -> ZoneInfo | None:
    """The time zone of an IANA name, UTC, or a city that IANA names."""
    wanted = "_".join(place.split()).lower()
    if wanted in ("utc", "gmt", "z"):
        return ZoneInfo("UTC")
    named = [zone for zone in all_zones() if wanted in (zone.lower(), zone.rpartition("/")[2].lower())]
    # `America/Indiana/Knox` and the like: a city that stands in two places is no clear answer.
    best = [zone for zone in named if zone.lower() == wanted] or [z for z in named if "/" in z]
    if not best:
        return None
    try:
        zones = [ZoneInfo(zone) for zone in sorted(best)]
    except ZoneInfoNotFoundError:
        return None
    now = datetime(2024, 1, 1), datetime(2024, 7, 1)  # noqa: DTZ001 - only to compare offsets
    offsets = {tuple(zone.utcoffset(moment) for moment in now) for zone in zones}
    return zones[0] if len(offsets) == 1 else None


def _shifted_months(start: date, months: int) -> date:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if not 1 <= year <= MAXYEAR:
        raise CannotDate("outside the years 1 to 9999")
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


def _made(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError as error:
        raise CannotDate(f"there is no day {day} in month {month} of {year}") from error


def _plural(word: str, count: int) -> str:
    return word if abs(count) == 1 else f"{word}s"
