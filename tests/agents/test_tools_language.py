"""Which questions are tool calls as a whole, and which are not."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.tools.arithmetic import calculate
from agents.tools.language import understand

TODAY = date(2024, 5, 15)
_WORDS = "what is 3 plus of the , . ? ! two % 2024-01-01 - days between and".split()  # noqa: SIM905 - as a line

SUMS = {
    "What is 23.7 * 19 + 4?": "454.3",
    "calculate 15% of 240": "36",
    "how much is twelve times 7": "84",
    "What is 123456789 * 987654321 + 17.5% of 2340?": "121932631112635678.5",
    "what's 2+2": "4",
    "2+2=?": "4",
    "2 + 2": "4",
    "What is the square root of 1764?": "42",
    "what is 5!": "120",
    "calculate 9/11": "0.818181818182",
    "What is 144/12?": "12",
    "whats 1,234.5 + 2,000": "3234.5",
    "two plus two": "4",
    "What is one hundred and five times three?": "315",
    "What is twenty-three minus 9?": "14",
    "what is 3 to the power of 4": "81",
    "2 to the 10th power": "1024",
    "What is half of 90?": "45",
    "three quarters of 80": "60",
    "what is the sum of 3, 4 and 5": "12",
    "the product of 6 and 7": "42",
    "the difference between 4 and 9": "5",
    "what is the remainder when 17 is divided by 5": "2",
    "What percent of 80 is 20?": "25",
    "what percentage is 20 of 80": "25",
    "What is 15 as a percentage of 60?": "25",
    "20% off 50": "40",
    "what is 50 increased by 20%": "60",
    "what is 2.5 million divided by 4": "625000",
    "what is 12 x 12": "144",
    "compute (3 + 4) * (2 - 7)": "-35",
    "what is $45.50 * 3": "136.5",
    "what is 4 squared": "16",
    "cube root of 27": "3",
    "20 factorial": "2432902008176640000",
    "subtract 5 from 12": "7",
    "divide 100 by 8": "12.5",
    "what is -5 + 3": "-2",
    "What is double 15?": "30",
    "What does 8 times 9 equal?": "72",
    "how much does 5 times 6 make?": "30",
    "what is a hundred plus a thousand": "1100",
    "What is the average of 3, 4 and 8?": "5",
    "What is 7 multiplied by (3 plus 2)?": "35",
    "How much is 15 percent of 80 dollars?": "12",
    "Please calculate: 12 * 12": "144",
    "What's 7 times 8, please?": "56",
    "two million three hundred thousand and five minus 5": "2300000",
}

CALLS = {
    "how many days between 2024-02-28 and 2024-03-01": ("days_between", "2024-02-28", "2024-03-01", "days"),
    "How many weeks are there between 1 January 2024 and 1 March 2024?": (
        "days_between", "2024-01-01", "2024-03-01", "weeks",
    ),
    "How many days until 25 December?": ("days_between", "2024-05-15", "2024-12-25", "days"),
    "How many days until 1 May?": ("days_between", "2024-05-15", "2025-05-01", "days"),
    "how many days since January 1, 2024?": ("days_between", "2024-01-01", "2024-05-15", "days"),
    "How many days are there between 3 March and 19 July?": ("days_between", "2024-03-03", "2024-07-19", "days"),
    "how many days between 12 May and 3 July 2023": ("days_between", "2023-05-12", "2023-07-03", "days"),
    "How many years between 4 July 1776 and 4 July 2024?": ("days_between", "1776-07-04", "2024-07-04", "years"),
    "what weekday was 4 July 1776": ("weekday", "1776-07-04"),
    "What day of the week was July 4, 1776?": ("weekday", "1776-07-04"),
    "On which day did 9 November 1989 fall?": ("weekday", "1989-11-09"),
    "What is today's date?": ("weekday", "2024-05-15"),
    "What is the date today?": ("weekday", "2024-05-15"),
    "What date is 90 days after 2024-01-31?": ("add_to_date", "2024-01-31", 90, "days"),
    "what is the date 3 weeks before 4 July 2024?": ("add_to_date", "2024-07-04", -3, "weeks"),
    "add one month to 2024-01-31": ("add_to_date", "2024-01-31", 1, "months"),
    "What day is it in 100 days?": ("add_to_date", "2024-05-15", 100, "days"),
    "Is 2000 a leap year?": ("leap_year", 2000),
    "What time is it in Tokyo?": ("now", "Tokyo"),
}  # fmt: skip

NEITHER = """
What is the square root of 16 plus 9?
What is the cube root of 27 plus 1?
What is 2+2!
What is 9/11?
What is 24/7
what is 7-Eleven
What is 7-11
What is 2024-02-28?
call 555-1234
What is 200 + 10%?
What is 1,5 + 2?
What is $5 + €3?
what is 6/2(1+2)
what is 3 of 5
What is 42?
What is 0x10 + 1
What is 3.5.2 + 1
What is the meaning of life, the universe and everything times two?
A train travels 60 km in 2 hours. What is its speed?
If I have 3 apples and eat 1, how many are left?
What is 2 + 2 in binary?
What is 5 plus five apples?
how much is 3 apples plus 2 apples
What is covid-19?
what is a 401k
What is the 14th amendment?
Explain 2+2=4
Why is 2+2=4?
What is 100 times better?
What is three times?
What is 3 plus?
What are 3 and 4?
how much is the fish
Solve 3x + 7 = 22
Convert 100 degrees Fahrenheit to Celsius.
What time is it in Springfield?
How many days between 03/04/2024 and 05/06/2024?
How many days are there between 3 January and 19 July?
How many days until my birthday?
What day was the moon landing?
What is one plus?
How many days does it take to fly to Mars?
Is 2000 a prime number?
What is 2+2 and who wrote Hamlet?
Write a poem about 3 + 4
"""


@pytest.mark.parametrize("question", SUMS)
def test_sums_are_understood(question: str) -> None:
    understood = understand(question, TODAY)
    assert understood is not None
    assert understood.tool == "calculate"
    assert calculate(understood.arguments["expression"]).text == SUMS[question]


@pytest.mark.parametrize("question", CALLS)
def test_questions_about_dates_are_understood(question: str) -> None:
    understood = understand(question, TODAY)
    assert understood is not None
    assert (understood.tool, *understood.arguments.values()) == CALLS[question]


@pytest.mark.parametrize("question", NEITHER.strip().splitlines())
def test_everything_else_is_left_alone(question: str) -> None:
    assert understand(question, TODAY) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120) | st.lists(st.sampled_from(_WORDS), max_size=20).map(" ".join))
def test_any_text_is_taken(question: str) -> None:
    understand(question, TODAY)


def test_long_questions_cost_nothing() -> None:
    for hostile in ("what is " + "1+" * 50_000, "," * 100_000, "the sum of " * 5000, "a " * 50_000 + "and", "(" * 700):
        assert understand(hostile, TODAY) is None
