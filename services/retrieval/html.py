"""HTML to blocks. The tree is walked without recursion, so that nesting costs nothing but time."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from services.contracts.errors import InvalidRequest
from services.retrieval.blocks import Block, Extract, title_of

MAX_NODES = 2_000_000
_UNSEEN = frozenset(
    {"script", "style", "noscript", "template", "head", "nav", "iframe", "object", "svg", "canvas", "select"}
)
_BREAKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "br", "dd", "details", "dialog", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li"}
    | {"main", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"}
)
_CELLS = frozenset({"td", "th"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")


def read_html(text: str) -> Extract:
    """What a reader of the page sees: no scripts, styles or navigation.

    Raises:
        InvalidRequest: more than `MAX_NODES` nodes.
    """
    tree = LexborHTMLParser(text)
    title_node = tree.css_first("head > title")
    title = _SPACE.sub(" ", title_node.text()).strip() if title_node is not None else ""
    writer = _Writer()
    if tree.body is not None:
        _walk(tree.body, writer)
    writer.end()
    return Extract(title or title_of(writer.blocks), writer.blocks)


class _Writer:
    """Collects words until a block ends."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.level = 0
        self.code = 0
        self._parts: list[str] = []

    def say(self, text: str) -> None:
        self._parts.append(text)

    def end(self) -> None:
        raw = "".join(self._parts)
        self._parts.clear()
        text = raw.strip("\n") if self.code else _SPACE.sub(" ", raw).strip().removesuffix("|").rstrip()
        if not text.strip():
            return
        if self.level:
            self.blocks.append(Block("heading", text, self.level, text))
        else:
            self.blocks.append(Block("code" if self.code else "paragraph", text))


def _walk(root: LexborNode, writer: _Writer) -> None:
    node: LexborNode | None = root
    seen = 0
    entering = True
    while node is not None:
        if entering:
            seen += 1
            if seen > MAX_NODES:
                raise InvalidRequest(f"more than {MAX_NODES} HTML nodes")
            child = _enter(node, writer)
            if child is not None:
                node = child
                continue
        _leave(node, writer)
        if node.mem_id == root.mem_id:  # `==` would compare the whole markup beneath
            return
        following = node.next
        entering = following is not None
        node = following if following is not None else node.parent


def _enter(node: LexborNode, writer: _Writer) -> LexborNode | None:
    """Say what the node says, and return its first child if that is to be seen too."""
    if node.is_text_node:
        writer.say(node.text_content or "")
        return None
    tag = node.tag or ""
    if not node.is_element_node or tag in _UNSEEN or "hidden" in node.attrs:
        return None
    if tag in _BREAKS and not (tag == "br" and writer.code):
        writer.end()
    if tag == "br" and writer.code:
        writer.say("\n")
    elif tag in _HEADINGS:
        writer.level = _HEADINGS[tag]
    elif tag == "pre":
        writer.code += 1
    return node.first_child


def _leave(node: LexborNode, writer: _Writer) -> None:
    tag = node.tag or ""
    if node.is_element_node and tag in _CELLS:
        writer.say(" | ")
    if not node.is_element_node or tag not in _BREAKS or tag == "br":
        return
    writer.end()
    if tag in _HEADINGS:
        writer.level = 0
    elif tag == "pre" and writer.code:
        writer.code -= 1
