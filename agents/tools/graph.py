"""The tool agent's LangGraph graph.

    understand -> calculate_directly                      the whole question is one tool call: no model needed
        `-------> ask <-> use                             a model chooses tools, at most `max_steps` times
                   `----> conclude                        its answer, if its numbers are those of the tools

Every tool use and every question to a model is a step of the trace (`Ask.steps`). Built once; what belongs to a task
comes in as the graph's run-time context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import msgspec
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from agents.ask import Ask
from agents.tools.grounding import is_call, numbers, unfounded
from agents.tools.language import Understood, understand
from agents.tools.prompts import CLOSING, opening
from agents.tools.toolbox import Output, Toolbox
from services.contracts.errors import NoCapableComponent, Unsupported
from services.contracts.events import FinishReason, Passage
from services.contracts.messages import ChatRequest, Message, Sampling, ToolCall

MAX_CALLS_AT_ONCE = 8
MAX_FED_BACK_CHARS = 4000  # of a tool's output, to a model
_CALL_TOKENS = 128  # enough for a call
_TURN_TOKENS = 384  # where the client says nothing: enough for a few sentences
NOBODY = "no component that can call tools is there to understand this question; pure calculations need none"


class Used(NamedTuple):
    """A tool call that was made."""

    name: str
    arguments: str
    output: Output


class State(TypedDict, total=False):
    """What is known so far. `asked` counts the questions to models; `repeated`: the model goes in circles."""

    request: ChatRequest
    call: Understood | None
    messages: tuple[Message, ...]
    asked: int
    used: tuple[Used, ...]
    calls: tuple[ToolCall, ...]
    repeated: bool
    text: str
    reason: FinishReason
    replaced: list[str]


@dataclass(frozen=True)
class Context:
    """What the nodes may use of the world, for one task. `has_model`: someone who can call tools is ready."""

    ask: Ask
    tools: Toolbox
    has_model: bool
    max_steps: int


Graph = CompiledStateGraph[State, Context, State, State]


def build() -> Graph:
    """The compiled graph."""
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("understand", look_at)
    graph.add_node("calculate_directly", calculate_directly)
    graph.add_node("ask", ask_model)
    graph.add_node("use", use_tools)
    graph.add_node("conclude", conclude)
    graph.add_edge(START, "understand")
    graph.add_conditional_edges("understand", after_understanding, ["calculate_directly", "ask"])
    graph.add_edge("calculate_directly", END)
    graph.add_conditional_edges("ask", after_asking, ["use", "conclude"])
    graph.add_edge("use", "ask")
    graph.add_edge("conclude", END)
    return graph.compile()


def recursion_limit(max_steps: int) -> int:
    """Node visits that `max_steps` questions to models can take."""
    return 2 * max_steps + 4


def passages(state: State) -> tuple[Passage, ...]:
    """What searches found, each passage once."""
    found = (passage for used in state.get("used", ()) for passage in used.output.passages)
    return tuple({(passage.source, passage.text): passage for passage in found}.values())


async def look_at(state: State, runtime: Runtime[Context]) -> State:
    """See whether the question as a whole is a tool call."""
    call = understand(state["request"].question, runtime.context.tools.today)
    if call is None and not runtime.context.has_model:
        raise Unsupported(NOBODY)
    messages = opening(state["request"].messages, runtime.context.tools.today)
    return {"call": call, "messages": messages, "asked": 0, "used": (), "repeated": False, "replaced": []}


def after_understanding(state: State) -> Literal["calculate_directly", "ask"]:
    """A question that is a tool call needs no model."""
    return "ask" if state["call"] is None else "calculate_directly"


async def calculate_directly(state: State, runtime: Runtime[Context]) -> State:
    """Make the one call and answer with its result."""
    call = state["call"]
    assert call is not None  # noqa: S101 - the edge that leads here says so
    arguments = msgspec.json.encode(call.arguments).decode()
    output = await _use(runtime.context, call.tool, arguments)
    text = f"{output.text}{call.unit}" if not output.error else f"{output.text}."
    return {"text": text, "reason": "stop", "used": (Used(call.tool, arguments, output),)}


async def ask_model(state: State, runtime: Runtime[Context]) -> State:
    """Ask a model what to do next.

    A question with numbers begins with a tool: small models else answer it from memory, and wrongly. They also repeat
    a call for ever if they may make several at once. With the last step, or in a circle, a model may only answer.
    """
    asked = state["asked"] + 1
    must_end = asked >= runtime.context.max_steps or state["repeated"]
    choice = "none" if must_end else "required" if asked == 1 and numbers(state["request"].question) else "auto"
    request = msgspec.structs.replace(
        state["request"],
        messages=(*state["messages"], CLOSING) if must_end else state["messages"],
        tools=runtime.context.tools.specs,
        tool_choice=choice,
        parallel_tool_calls=False,
        sampling=_with_limit(state["request"].sampling, choice),
    )
    try:
        answer = await runtime.context.ask.chat(request, name="model")
    except (NoCapableComponent, Unsupported) as error:
        raise Unsupported(f"{NOBODY} ({error.message})") from error
    cut_off = answer.finished.reason == "length"  # then the last call is not whole, and the next would fare no better
    calls = () if must_end or cut_off else answer.tool_calls[:MAX_CALLS_AT_ONCE]
    turn = Message("assistant", answer.text, tool_calls=calls)
    return {
        "asked": asked,
        "messages": (*state["messages"], turn),
        "calls": calls,
        "text": answer.text.strip(),
        "reason": "stop" if answer.finished.reason == "tool_calls" else answer.finished.reason,
    }


def after_asking(state: State) -> Literal["use", "conclude"]:
    """Tools are used as long as they are asked for."""
    return "use" if state["calls"] else "conclude"


async def use_tools(state: State, runtime: Runtime[Context]) -> State:
    """Make the calls the model asked for. One that was made before is not made again, and ends the loop."""
    before = {(used.name, used.arguments): used.output for used in state["used"]}
    made: list[Used] = []
    replies: list[Message] = []
    repeated = state["repeated"]
    for call in state["calls"]:
        output = before.get((call.name, call.arguments))
        if output is None:
            output = await _use(runtime.context, call.name, call.arguments)
            before[call.name, call.arguments] = output
            made.append(Used(call.name, call.arguments, output))
        else:
            repeated = True
        text = f"error: {output.text}" if output.error else output.text
        replies.append(Message("tool", text[:MAX_FED_BACK_CHARS], tool_call_id=call.id))
    return {
        "messages": (*state["messages"], *replies),
        "used": (*state["used"], *made),
        "repeated": repeated,
    }


async def conclude(state: State, runtime: Runtime[Context]) -> State:  # noqa: ARG001 - the signature of a node
    """Let the model's answer stand if the tools bear out its numbers; else answer with what the tools said."""
    results = [used.output.text for used in state["used"] if not used.output.error]
    if not state["used"]:
        return {}
    known = [message.text for message in state["request"].messages]
    known += [text for used in state["used"] for text in (used.arguments, used.output.text)]
    wrong = unfounded(state["text"], known) if results else []
    if state["text"] and not wrong and not is_call(state["text"]):
        return {}
    said = "\n".join(dict.fromkeys(results)) or "The tools could not answer this: " + state["used"][-1].output.text
    return {"text": said, "reason": "stop", "replaced": wrong}


def _with_limit(sampling: Sampling, choice: str) -> Sampling:
    """The client's limit holds for every turn that may be the answer; none goes on for ever; a call needs room."""
    limit = sampling.max_tokens or _TURN_TOKENS
    return msgspec.structs.replace(sampling, max_tokens=max(limit, _CALL_TOKENS) if choice == "required" else limit)


async def _use(context: Context, name: str, arguments: str) -> Output:
    with context.ask.step(name[:100], arguments) as note:
        output = await context.tools.call(name, arguments)
        note.output = f"error: {output.text}" if output.error else output.text
    return output
