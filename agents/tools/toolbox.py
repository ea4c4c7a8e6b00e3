"""The tools: each with a JSON schema for models and checked arguments for us. Results are exact, or say so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from agents.tools import arithmetic, dates
from agents.tools.numbers import CannotCalculate
from services.contracts.errors import Cancelled, TurnoutError
from services.contracts.events import Found, Passage
from services.contracts.messages import ToolSpec

MAX_ARGUMENT_CHARS = 20_000
MAX_OUTPUT_CHARS = 20_000
_PASSAGES = 4
_LEAST_RELEVANCE = 0.3

Clock = Callable[[], datetime]
Search = Callable[[str, int], Awaitable[Found]]
Arguments = TypeVar("Arguments", bound=msgspec.Struct)


class Output(msgspec.Struct, frozen=True):
    """What a tool says. `error` is set when it could not do what was asked; `text` then says why."""

    text: str
    error: bool = False
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True)
class Tool(Generic[Arguments]):
    """One tool. `run` gets arguments that fit `arguments`, and answers in one or a few lines.

    Raises:
        ValueError: from `run`: it cannot be done; the message says why, and the model may try again.
    """

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Arguments], Awaitable[Output]]

    @property
    def spec(self) -> ToolSpec:
        """As a model is told of it."""
        schema = msgspec.json.schema(self.arguments)
        inner = dict(next(iter(schema["$defs"].values())))
        inner.pop("title", None)
        return ToolSpec(self.name, self.description, {**inner, "additionalProperties": False})


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Date = Annotated[
    str, msgspec.Meta(max_length=40, description="YYYY-MM-DD, or a date written out in English, or today")
]
_Year = Annotated[int, msgspec.Meta(ge=1, le=9999)]
_Amount = Annotated[int, msgspec.Meta(ge=-4_000_000, le=4_000_000, description="negative: before the date")]


class Expression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `calculate`."""

    expression: Annotated[str, msgspec.Meta(max_length=1000, description="such as 17.5% of 2340 or (2^10 - 1)/3")]


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `days_between`."""

    start: _Date
    end: _Date
    unit: dates.Unit = "days"


class Shift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `add_to_date`."""

    date: _Date
    amount: _Amount
    unit: dates.Unit = "days"


class OneDate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `weekday`."""

    date: _Date


class Year(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `leap_year`."""

    year: _Year


class Zone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `now`."""

    zone: Annotated[str, msgspec.Meta(max_length=60, description="IANA time zone or a city, such as Asia/Tokyo")] = (
        "UTC"
    )


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `search_documents`."""

    query: _Text


class Toolbox:
    """All tools of one task. `search` is None where no component searches documents."""

    def __init__(self, clock: Clock, search: Search | None) -> None:
        self._clock = clock
        self._search = search
        tools: list[Tool[Any]] = [
            Tool(
                "calculate",
                "Calculate exactly: + - * / // mod % ^ ! ( ) sqrt abs floor ceil pi",
                Expression,
                _calculate,
            ),
            Tool("days_between", "Time between two dates", Span, self._days_between),
            Tool("add_to_date", "The date some time after or before a date", Shift, self._add_to_date),
            Tool("weekday", "The day of the week of a date", OneDate, self._weekday),
            Tool("leap_year", "Whether a year is a leap year", Year, _leap_year),
            Tool("now", "The date and time now in a time zone", Zone, self._now),
        ]
        if search is not None:
            tools.append(Tool("search_documents", "Search the user's own documents", Query, self._search_documents))
        self._tools = {tool.name: tool for tool in tools}

    @property
    def today(self) -> date:
        """The date now, where this runs."""
        return self._clock().date()

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """All tools as a model is told of them."""
        return tuple(tool.spec for tool in self._tools.values())

    async def call(self, name: str, arguments: str | Mapping[str, Any]) -> Output:
        """Use a tool. Whatever is wrong with the call is said in the output: the caller may be a model.

        Args:
            name: of the tool.
            arguments: an object, or its JSON text as a model wrote it.

        Raises:
            Cancelled: the task is.
        """
        tool = self._tools.get(name)
        if tool is None:
            return Output(f"there is no tool {name[:60]!r}; there are {', '.join(self._tools)}", error=True)
        try:
            if isinstance(arguments, str):
                if len(arguments) > MAX_ARGUMENT_CHARS:
                    return Output("the arguments are too long", error=True)
                checked = msgspec.json.decode(arguments or "{}", type=tool.arguments, strict=False)
            else:
                checked = msgspec.convert(arguments, tool.arguments)
            output = await tool.run(checked)
        except (msgspec.MsgspecError, RecursionError) as error:
            return Output(f"the arguments do not fit: {error}"[:500], error=True)
        except ValueError as error:
            return Output(str(error)[:500], error=True)
        except Cancelled:
            raise
        except TurnoutError as error:
            return Output(f"it failed: {error.message}"[:500], error=True)
        return msgspec.structs.replace(output, text=output.text[:MAX_OUTPUT_CHARS])

    async def _days_between(self, span: Span) -> Output:
        start, end = dates.read(span.start, self.today).date, dates.read(span.end, self.today).date
        distance = dates.between(start, end)
        if span.unit != "days":
            whole = dates.count(start, end, span.unit)
            unit = span.unit.removesuffix("s") if abs(whole) == 1 else span.unit
            distance = f"{whole} whole {unit}, {distance}"
        return Output(f"From {start} to {end}: {distance}.")

    async def _add_to_date(self, shift: Shift) -> Output:
        start = dates.read(shift.date, self.today).date
        end = dates.shifted(start, shift.amount, shift.unit)
        unit = shift.unit.removesuffix("s") if abs(shift.amount) == 1 else shift.unit
        where = "before" if shift.amount < 0 else "after"
        return Output(f"{abs(shift.amount)} {unit} {where} {start}: {dates.described(end)}.")

    async def _weekday(self, one: OneDate) -> Output:
        return Output(f"{dates.described(dates.read(one.date, self.today).date)}.")

    async def _now(self, zone: Zone) -> Output:
        found = dates.zone_of(zone.zone)
        if found is None:
            raise dates.CannotDate(f"no clear time zone: {zone.zone!r}; write it like Europe/Paris")
        now = self._clock().astimezone(found)
        return Output(f"{dates.described(now.date())}, {now:%H:%M} in {found.key}.")

    async def _search_documents(self, query: Query) -> Output:
        if self._search is None:
            raise ValueError("no documents can be searched")
        found = await self._search(query.query, _PASSAGES)
        passages = tuple(p for p in found.passages if p.relevance >= _LEAST_RELEVANCE)
        if not passages:
            return Output("Nothing in the documents bears on this.")
        return Output("\n\n".join(f"[{p.source}] {p.text}" for p in passages), passages=passages)


async def _calculate(asked: Expression) -> Output:
    try:
        result = arithmetic.calculate(asked.expression)
    except CannotCalculate as error:
        return Output(f"{asked.expression}: {error}", error=True)
    if result.text == asked.expression.strip():
        return Output(f"{result.text} is a number already; there is nothing to calculate", error=True)
    if result.rounded:
        return Output(f"{asked.expression} ≈ {result.text} (rounded to 12 significant digits)")
    return Output(f"{asked.expression} = {result.text}")


async def _leap_year(asked: Year) -> Output:
    leap = dates.is_leap(asked.year)
    return Output(f"{asked.year} is {'a' if leap else 'not a'} leap year: it has {366 if leap else 365} days.")
