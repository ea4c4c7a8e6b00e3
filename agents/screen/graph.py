"""The screen agent's LangGraph graph.

    look -> understand -> look_up -> answer
       `--------------------------------^     nothing could be read: nothing to understand or to look up

Each node asks one component through the router and leaves its step in the trace (`Ask.steps`). Built once; the `Ask` of
a task comes in as the graph's run-time context, and the pieces of the answer go out as its custom stream.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypedDict

import msgspec
import structlog
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from agents.ask import Ask
from agents.screen import intent as intents
from agents.screen.intent import Intent, Useless
from agents.screen.prompts import answer_request, intent_request
from services.bus.roster import Roster
from services.contracts.errors import Cancelled, TurnoutError
from services.contracts.events import Delta, Finished, Passage, ScreenRead
from services.contracts.messages import ChatRequest

log = structlog.get_logger()

PASSAGES = 4
LEAST_RELEVANCE = 0.5
INTENT_TIMEOUT_S = 10.0  # it is a help, and the user waits
NODES = 4


class State(TypedDict, total=False):
    """What is known so far. `steps_left` counts questions to other components that may still be asked."""

    request: ChatRequest
    steps_left: int
    screens: tuple[ScreenRead, ...]
    intent: Intent
    intent_from: Literal["model", "computed"]
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Result:
    """The end of the graph's stream."""

    finished: Finished
    state: State


@dataclass(frozen=True)
class Context:
    """What the nodes may use of the world, for one task."""

    ask: Ask
    roster: Roster
    local_only: bool


Graph = CompiledStateGraph[State, Context, State, State]


def build() -> Graph:
    """The compiled graph."""
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("look", look)
    graph.add_node("understand", understand)
    graph.add_node("look_up", look_up)
    graph.add_node("answer", answer)
    graph.add_edge(START, "look")
    graph.add_conditional_edges("look", after_looking, ["understand", "answer"])
    graph.add_edge("understand", "look_up")
    graph.add_edge("look_up", "answer")
    graph.add_edge("answer", END)
    return graph.compile()


async def look(state: State, runtime: Runtime[Context]) -> State:
    """Read every image."""
    screens = [await runtime.context.ask.read(image, name="look") for image in state["request"].images]
    return {"screens": tuple(screens), "steps_left": state["steps_left"] - len(screens), "passages": ()}


def after_looking(state: State) -> Literal["understand", "answer"]:
    """A screen without text goes straight to the answer."""
    return "understand" if any(screen.lines for screen in state["screens"]) else "answer"


async def understand(state: State, runtime: Runtime[Context]) -> State:
    """Ask a model what it is about; compute it where the model is of no use, or no step is left for it."""
    ask, question = runtime.context.ask, state["request"].question
    lines = [line.text for screen in state["screens"] for line in screen.lines]
    steps_left = state["steps_left"]
    why = "no step left to ask a model"
    if steps_left > 1:
        steps_left -= 1
        try:
            request = intent_request(question, state["screens"])
            reply = await ask.chat(request, name="understand", quality=0.0, timeout_s=INTENT_TIMEOUT_S)
            found = intents.parse(reply.text, question, lines)
        except Cancelled:
            raise
        except Useless as error:
            why = str(error)
        except TurnoutError as error:
            why = f"{error.code}: {error.message}"
        else:
            return {"intent": found, "intent_from": "model", "steps_left": steps_left}
    with ask.step("understand", f"computed from the words, because the model's intent is of no use: {why}") as note:
        computed = intents.compute(question, lines)
        note.output = msgspec.json.encode(computed).decode()
    return {"intent": computed, "intent_from": "computed", "steps_left": steps_left}


async def look_up(state: State, runtime: Runtime[Context]) -> State:
    """Search the documents. An answer without them is better than none, so what prevents it is noted and no more."""
    context, query = runtime.context, state["intent"].search_query
    held = documents_held(context.roster, local_only=context.local_only)
    if not held or state["steps_left"] <= 1:
        with context.ask.step("look_up", query) as note:
            note.output = "skipped: no step left for it" if held else "skipped: no documents are held"
        return {}
    passages: tuple[Passage, ...] = ()
    try:
        found = await context.ask.search(query, PASSAGES, name="look_up")
        passages = tuple(passage for passage in found.passages if passage.relevance >= LEAST_RELEVANCE)
    except Cancelled:
        raise
    except TurnoutError as error:
        log.warning("look_up_failed", error=error.message)  # the step in the trace has it too
    return {"passages": passages, "steps_left": state["steps_left"] - 1}


async def answer(state: State, runtime: Runtime[Context]) -> State:
    """Have the question answered from what was read and found, passing the pieces on as they come."""
    request = state["request"]
    asked = answer_request(request, request.question, state["screens"], state["passages"])
    if request.stream:
        async with aclosing(runtime.context.ask.chat_stream(asked, name="answer")) as events:
            async for event in events:
                runtime.stream_writer(Result(event, state) if isinstance(event, Finished) else event)
    else:  # asked for in one piece, it stays retryable elsewhere until it is whole
        reply = await runtime.context.ask.chat(asked, name="answer")
        runtime.stream_writer(Delta(reply.text))
        runtime.stream_writer(Result(reply.finished, state))
    return {"steps_left": state["steps_left"] - 1}


def documents_held(roster: Roster, *, local_only: bool) -> bool:
    """Whether a component that lives can search, and has something to search in."""
    return any(
        "search" in beat.capabilities and beat.facts.get("documents", 0) > 0 and (beat.local or not local_only)
        for beat in roster.ready()
    )
