"""Which instances are still awaited, and how that is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.contracts.beat import Beat
from services.contracts.keeper import Instance

_ARRIVED = frozenset({"ready", "unconfigured"})


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of a start.

    Attributes:
        ready: beats of the instances that serve.
        unconfigured: beats of those that run and wait for something from the user, a key mostly.
        awaited: names of the others, as the configuration orders them.
    """

    ready: tuple[Beat, ...]
    unconfigured: tuple[Beat, ...]
    awaited: tuple[str, ...]

    @classmethod
    def of(cls, expected: Iterable[Instance], beats: Iterable[Beat]) -> Readiness:
        """Compare what was started with who has spoken up."""
        heard = {beat.instance: beat for beat in beats}
        names = [instance.name for instance in expected]
        present = [heard[name] for name in names if name in heard]
        return cls(
            ready=tuple(beat for beat in present if beat.state == "ready"),
            unconfigured=tuple(beat for beat in present if beat.state == "unconfigured"),
            awaited=tuple(name for name in names if name not in heard or heard[name].state not in _ARRIVED),
        )

    @property
    def complete(self) -> bool:
        """Whether everything that can serve does."""
        return not self.awaited


@dataclass(frozen=True, slots=True)
class Programs:
    """How the user would type the two programs that the examples use."""

    turnout: str = "turnout"
    python: str = "python"


def welcome(url: str, readiness: Readiness, took_s: float, programs: Programs, *, key_needed: bool) -> str:
    """One ready line, and three requests to paste."""
    missing = list(dict.fromkeys(beat.component for beat in readiness.unconfigured))
    waiting = f" (not configured: {', '.join(missing)})" if missing else ""
    header = " -H 'Authorization: Bearer '$TURNOUT_API_KEY" if key_needed else ""
    key = 'os.environ["TURNOUT_API_KEY"]' if key_needed else '"unused"'
    asked = "Classify the sentiment as positive or negative: I love trains."
    chat = f'{{"model": "auto", "messages": [{{"role": "user", "content": "{asked}"}}]}}'
    return f"""\
Turnout is ready at {url} after {took_s:.1f} s: {len(readiness.ready)} processes serve{waiting}

  curl {url}/v1/chat/completions{header} -H 'Content-Type: application/json' \\
    -d '{chat}'

  {programs.turnout} ask --url {url} {_question(readiness)}

  {programs.python} -c 'import os, openai
print(openai.OpenAI(base_url="{url}/v1", api_key={key}).chat.completions.create(
  model="auto", messages=[{{"role": "user", "content": "Hello!"}}]).choices[0].message.content)'
"""


def _question(readiness: Readiness) -> str:
    """The most telling question that what runs can answer."""
    names = {beat.kind: beat.component for beat in readiness.ready}
    if "tool_agent" in names:
        return f"--model {names['tool_agent']} 'What is 1234.5 * 6789?'"
    if "vision" in names:
        return "--image screenshot.png 'What does this say?'"
    return "'Why is the sky blue?'"
