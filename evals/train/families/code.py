"""Programs: written ones are run against cases, read ones have a known output."""

# ruff: noqa: E501 - a task stays on one line

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from random import Random

from evals.train.families import words as w
from evals.train.items import Check, Item, Maker, says

_FENCE = re.compile(r"```(?:python|sql)?\s*\n(.*?)```", re.DOTALL)
_RUN_S = 4.0
_LIMITS = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28)); resource.setrlimit(resource.RLIMIT_CPU, (2, 2)); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"


def _program(answer: str) -> str:
    fenced = _FENCE.findall(answer)
    return fenced[0] if fenced else answer


def passes(tests: str) -> Check:
    """The program in the answer, run in a bare child process with limits, makes these assertions true."""

    def check(answer: str) -> bool:
        program = f"{_LIMITS}{_program(answer)}\n{tests}\nprint('all held')\n"
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, isolated, limited in memory, time and files
                [sys.executable, "-I", "-S", "-c", program], capture_output=True, timeout=_RUN_S, check=False, env={}
            )
        except (subprocess.TimeoutExpired, ValueError):
            return False
        return done.stdout.endswith(b"all held\n")

    return check


_TASKS: tuple[tuple[str, str, str], ...] = (
    ("add", "returns the sum of two numbers a and b", "assert add(2, 3) == 5 and add(-1, 1) == 0"),
    ("is_even", "returns True if the integer n is even", "assert is_even(4) and not is_even(7)"),
    ("reverse_string", "returns the string s reversed", "assert reverse_string('abc') == 'cba'"),
    ("factorial", "returns the factorial of n", "assert factorial(5) == 120 and factorial(0) == 1"),
    ("fib", "returns the n-th Fibonacci number, with fib(0) = 0 and fib(1) = 1", "assert fib(10) == 55 and fib(0) == 0"),
    ("count_vowels", "counts the vowels in a string s", "assert count_vowels('Hello World') == 3"),
    ("is_palindrome", "checks whether a string reads the same backwards, ignoring case", "assert is_palindrome('Level') and not is_palindrome('abc')"),
    ("max_of_list", "returns the largest element of a list without using max()", "assert max_of_list([3, 9, 2]) == 9 and max_of_list([-5, -2]) == -2"),
    ("unique", "returns the list without duplicates, keeping the order", "assert unique([1, 2, 1, 3, 2]) == [1, 2, 3]"),
    ("is_prime", "returns whether n is a prime number", "assert is_prime(2) and is_prime(97) and not is_prime(1) and not is_prime(91)"),
    ("flatten", "flattens a list of nested lists of any depth", "assert flatten([1, [2, [3, [4]]]]) == [1, 2, 3, 4]"),
    ("word_count", "returns a dict that maps each word of a string to how often it occurs", "assert dict(word_count('a b a')) == {'a': 2, 'b': 1}"),
    ("gcd", "returns the greatest common divisor of a and b", "assert gcd(12, 18) == 6 and gcd(7, 5) == 1"),
    ("to_roman", "converts an integer up to 3999 to a Roman numeral", "assert to_roman(1994) == 'MCMXCIV'"),
    ("merge_intervals", "merges overlapping intervals given as a list of [start, end]", "assert [list(x) for x in merge_intervals([[1, 3], [2, 6], [8, 10]])] == [[1, 6], [8, 10]]"),
    ("lcs", "returns the length of the longest common subsequence of two strings", "assert lcs('AGGTAB', 'GXTXAYB') == 4"),
    ("edit_distance", "returns the Levenshtein distance of two strings", "assert edit_distance('kitten', 'sitting') == 3"),
    ("balanced", "returns True if the brackets ()[]{} in the string are balanced", "assert balanced('([]{})') and not balanced('([)]')"),
    ("transpose", "transposes a matrix given as a list of rows", "assert [list(x) for x in transpose([[1, 2], [3, 4]])] == [[1, 3], [2, 4]]"),
    ("permutations_of", "returns all permutations of a list as a list of lists", "assert sorted(map(list, permutations_of([1, 2, 3]))) == [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]]"),
    ("knapsack", "takes weights, values and a capacity and returns the best total value of a 0/1 knapsack", "assert knapsack([1, 3, 4, 5], [1, 4, 5, 7], 7) == 9"),
    ("rotate", "rotates a list to the right by k places", "assert rotate([1, 2, 3, 4, 5], 2) == [4, 5, 1, 2, 3]"),
)  # fmt: skip


def write_function(rng: Random) -> Item:
    """A Python function, run against cases."""
    name, does, tests = rng.choice(_TASKS)
    prompt = rng.choice(
        (
            "Write a Python function `{n}` that {d}.",
            "Implement {n} in Python: it {d}.",
            "python: def {n}, a function that {d}",
            "Please write a function called {n} that {d}. Only code.",
            "I need Python code for a function {n} which {d}.",
        )
    ).format(n=name, d=does)
    return Item(prompt, passes(tests), max_tokens=220)


def read_program(rng: Random) -> Item:
    """What a short program prints."""
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    code, out = rng.choice(
        (
            (f"x = {a}\ny = {b}\nprint(x * y - x)", a * b - a),
            (f"total = 0\nfor i in range({a}):\n    total += i * {b}\nprint(total)", sum(i * b for i in range(a))),
            (f"xs = [{a}, {b}, {a + b}]\nprint(sum(xs[1:]))", a + 2 * b),
            (f"s = 'turnout'\nprint(s[{a % 5}:{a % 5 + 2}])", "turnout"[a % 5 : a % 5 + 2]),
            (
                f"def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nprint(f({a % 5 + 2}) + {b})",
                [1, 1, 2, 6, 24, 120, 720][a % 5 + 2] + b,
            ),
        )
    )
    prompt = rng.choice(
        (
            "What does this Python program print?\n\n{c}",
            "Give the output of:\n```python\n{c}\n```",
            "{c}\n\nWhat is the output?",
        )
    ).format(c=code)
    return Item(prompt, says(str(out)), max_tokens=80)


def write_sql(rng: Random) -> Item:
    """A query, run on a small table."""
    rows = [(rng.choice(w.NAMES), rng.choice(w.CITIES), rng.randint(18, 70)) for _ in range(12)]
    age, city = rng.randint(25, 60), rows[0][1]
    does, right = rng.choice(
        (
            (f"counts the people older than {age}", [(sum(r[2] > age for r in rows),)]),
            (f"returns the names of the people in {city}", [(r[0],) for r in rows if r[1] == city]),
            ("returns the average age", [(sum(r[2] for r in rows) / len(rows),)]),
            ("returns the age of the oldest person", [(max(r[2] for r in rows),)]),
        )
    )  # fmt: skip

    def check(answer: str) -> bool:
        query = re.search(r"select.*?(?:;|$)", _program(answer), re.IGNORECASE | re.DOTALL)
        if query is None:
            return False
        with sqlite3.connect(":memory:") as db:
            db.execute("CREATE TABLE people (name TEXT, city TEXT, age INTEGER)")
            db.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
            try:
                return sorted(db.execute(query.group(0)).fetchall()) == sorted(right)
            except (sqlite3.Error, sqlite3.Warning):
                return False

    prompt = rng.choice(
        (
            "Write an SQL query on the table people(name, city, age) that {d}.",
            "SQL: table people has columns name, city, age. Give a query that {d}.",
            "Given people(name TEXT, city TEXT, age INTEGER), which SQL statement {d}?",
        )
    ).format(d=does)
    return Item(prompt, check, max_tokens=100)


FAMILIES: dict[str, Maker] = {"write-function": write_function, "read-program": read_program, "write-sql": write_sql}
