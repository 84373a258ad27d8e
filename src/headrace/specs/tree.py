"""YAML text to a tree of plain values that know where they stand. Used by `specs.load` alone.

YAML 1.2 core schema, one document, no tags, no duplicate keys; size, depth, nodes and aliases are bounded, so that no
file costs more than its size. Never builds a Python object a file names.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml_events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from headrace.specs.problem import InvalidCloud, Problem, shown

TEXT_BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 24
NODES_MAX: Final = 20_000
ALIASES_MAX: Final = 200

Scalar = str | int | float | bool | None
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]{1,18}")
_INT_BASE: Final = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")


@dataclass(slots=True)
class Node:
    """One value. `text` is the scalar as written, so that money is read without a detour through floats."""

    value: "dict[str, Node] | list[Node] | Scalar"
    line: int
    col: int
    text: str = ""
    keys: "dict[str, Node]" = field(default_factory=dict)
    size: int = 1

    @property
    def plain(self) -> object:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    @property
    def kind(self) -> str:
        """What a person calls a value of this type."""
        names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
        return "nothing" if self.value is None else names.get(type(self.value), "a number")


def read(text: str, filename: str) -> Node:
    """The tree of a cloud file. Raises InvalidCloud at the first fault of the YAML itself."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES_MAX:
        _fail(filename, 1, 1, f"the file has {size} bytes, more than {TEXT_BYTES_MAX}; split the cloud")
    if not text.strip():
        _fail(filename, 1, 1, "the file is empty; begin with `version: 1` (`headrace config schema` tells the rest)")
    builder = _Builder(filename)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        _fail(filename, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, f"not YAML: {message}")
    except YAMLError as error:
        _fail(filename, 1, 1, f"not YAML: {str(error).splitlines()[0]}")
    if builder.root is None:
        _fail(filename, 1, 1, "the file holds no mapping; begin with `version: 1`")
    return builder.root


class _Builder:
    """Builds the tree from parser events, without recursion."""

    def __init__(self, filename: str) -> None:
        self.root: Node | None = None
        self._filename = filename
        self._open: list[tuple[Node, str | None]] = []  # a collection, and the anchor it is finished under
        self._key: list[Node | None] = []  # for each open mapping the key that waits for its value
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self._aliases = 0
        self._documents = 0

    def take(self, event: yaml_events.Event) -> None:
        line, col = event.start_mark.line + 1, event.start_mark.column + 1
        match event:
            case yaml_events.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    _fail(self._filename, line, col, "a second document begins here; a cloud is one document")
            case yaml_events.ScalarEvent():
                self._tagged(event.tag, line, col)
                plain = event.style in (None, "")
                node = Node(_resolved(event.value) if plain else event.value, line, col, text=event.value)
                self._anchor(event.anchor, node)
                self._add(node)
            case yaml_events.MappingStartEvent() | yaml_events.SequenceStartEvent():
                self._tagged(event.tag, line, col)
                if len(self._open) >= DEPTH_MAX:
                    _fail(self._filename, line, col, f"nested deeper than {DEPTH_MAX} levels; no cloud needs that")
                is_map = isinstance(event, yaml_events.MappingStartEvent)
                self._open.append((Node({} if is_map else [], line, col), event.anchor))
                self._key.append(None)
            case yaml_events.MappingEndEvent() | yaml_events.SequenceEndEvent():
                node, anchor = self._open.pop()
                self._key.pop()
                self._anchor(anchor, node)
                self._add(node)
            case yaml_events.AliasEvent():
                self._alias(event.anchor, line, col)

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            _fail(self._filename, node.line, node.col, f"more than {NODES_MAX} values; split the cloud")
        if not self._open:
            self.root = node
            return
        parent = self._open[-1][0]
        parent.size += node.size
        if isinstance(parent.value, list):
            parent.value.append(node)
            return
        assert isinstance(parent.value, dict)
        key = self._key[-1]
        if key is None:
            if isinstance(node.value, dict | list):
                _fail(self._filename, node.line, node.col, f"a key is a text, not {node.kind}")
            if node.text in parent.value:
                first = parent.keys[node.text].line
                _fail(self._filename, node.line, node.col, f"{shown(node.text)} is there twice, first in line {first}")
            self._key[-1] = node
            return
        parent.value[key.text] = node
        parent.keys[key.text] = key
        self._key[-1] = None

    def _alias(self, anchor: str, line: int, col: int) -> None:
        self._aliases += 1
        node = self._anchors.get(anchor)
        if node is None:
            _fail(self._filename, line, col, f"*{anchor} stands for nothing; define it before with &{anchor}")
        # What an alias stands for counts again, so that ten lines cannot mean a million values.
        self._nodes += node.size
        if self._aliases > ALIASES_MAX:
            _fail(self._filename, line, col, f"more than {ALIASES_MAX} aliases; write the values out")
        self._add(node)

    def _anchor(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _tagged(self, tag: object, line: int, col: int) -> None:
        if tag is not None and str(tag) != "!":
            _fail(self._filename, line, col, f"the tag {shown(tag)} is not allowed; write the value without a tag")


def _resolved(text: str) -> Scalar:
    """A plain scalar by YAML 1.2's core schema: `yes` and `12:30` are texts."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _INT_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _fail(filename: str, line: int, col: int, message: str) -> NoReturn:
    raise InvalidCloud([Problem(where=f"{filename}:{line}:{col}", path="", message=message)]) from None
