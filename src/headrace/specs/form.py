"""A tree of values against the document's structs: every fault is gathered, with its place and the fix.

Used by `specs.load`. msgspec stops at the first fault and knows no positions, hence this walk over the same types.
"""

import math
import re
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from headrace import units
from headrace.specs.literals import PATTERN_WORDS, REFERENCE_PATTERN
from headrace.specs.problem import Problem, closest, shown
from headrace.specs.tree import Node

DURATION_US_MAX: Final = 3650 * 24 * units.US_PER_HOUR
SIZE_BYTES_MAX: Final = 1 << 56
DOLLARS_MAX: Final = 1_000_000

_MONEY: Final = re.compile(r"\d{1,9}(\.\d{1,9})?")
_WRONG: Final = object()
_S = TypeVar("_S", bound=msgspec.Struct)
_Path = tuple[str, ...]


def build(node: Node, struct: type[_S], filename: str) -> tuple[_S | None, list[Problem]]:
    """The struct the tree stands for, or None and all that is wrong with it."""
    form = _Form(filename)
    made = form.value(node, _type_of(struct), ())
    return (None if made is _WRONG or form.problems else made), form.problems


def spelled(path: _Path) -> str:
    """A path as people write it: `models.smollm2.placement[0]`."""
    return "".join(part if part.startswith("[") else f".{part}" for part in path).removeprefix(".")


@cache
def _type_of(struct: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(struct)


class _Form:
    def __init__(self, filename: str) -> None:
        self.problems: list[Problem] = []
        self._filename = filename

    def value(self, node: Node, kind: inspect.Type, path: _Path, parse: str = "") -> Any:
        """The value of a node as that type, or _WRONG after the problem was noted."""
        match kind:
            case inspect.Metadata():
                return self.value(node, kind.type, path, (kind.extra or {}).get("parse", parse))
            case inspect.UnionType():
                return self._union(node, kind, path, parse)
            case inspect.StructType():
                return self._struct(node, kind, path)
            case inspect.DictType():
                return self._dict(node, kind, path)
            case inspect.ListType():
                return self._list(node, kind, path)
            case inspect.LiteralType():
                return self._literal(node, kind, path)
        return self._scalar(node, kind, path, parse)

    def _struct(self, node: Node, kind: inspect.StructType, path: _Path) -> Any:
        if not isinstance(node.value, dict):
            return self._wrong(node, path, f"needs a mapping, got {node.kind}")
        known = {field.encode_name: field for field in kind.fields}
        made: dict[str, Any] = {}
        for name, child in node.value.items():
            field = known.get(name)
            if field is None:
                hint = closest(name, known) or f"; known here: {', '.join(known)}"
                self._wrong(node.keys[name], (*path, name[:64]), f"unknown key {shown(name)}{hint}")
                continue
            made[field.name] = self.value(child, field.type, (*path, name))
        missing = [name for name, field in known.items() if field.required and name not in node.value]
        for name in missing:
            self._wrong(node, path, f"{name} is missing; add it")
        if missing or any(value is _WRONG for value in made.values()):
            return _WRONG
        return kind.cls(**made)

    def _dict(self, node: Node, kind: inspect.DictType, path: _Path) -> Any:
        if not isinstance(node.value, dict):
            return self._wrong(node, path, f"needs a mapping of names, got {node.kind}")
        if kind.min_length and len(node.value) < kind.min_length:
            return self._wrong(node, path, f"needs at least {kind.min_length} entry")
        made: dict[str, Any] = {}
        for name, child in node.value.items():
            at = node.keys[name]
            self._scalar(Node(name, at.line, at.col, text=name), _bare(kind.key_type), (*path, name[:64]), "")
            made[name] = self.value(child, kind.value_type, (*path, name[:64]))
        return _WRONG if any(value is _WRONG for value in made.values()) else made

    def _list(self, node: Node, kind: inspect.ListType, path: _Path) -> Any:
        if not isinstance(node.value, list):
            return self._wrong(node, path, f"needs a list like [a, b], got {node.kind}")
        made = [self.value(child, kind.item_type, (*path, f"[{i}]")) for i, child in enumerate(node.value)]
        return _WRONG if any(value is _WRONG for value in made) else made

    def _literal(self, node: Node, kind: inspect.LiteralType, path: _Path) -> Any:
        for value in kind.values:
            if type(value) is type(node.value) and value == node.value:
                return value
        words = [str(value) for value in kind.values]
        choice = f"give one of {', '.join(words)}" if len(words) > 1 else f"give {words[0]}"
        return self._wrong(node, path, f"is {_seen(node)}; {choice}{closest(node.text, words)}")

    def _union(self, node: Node, kind: inspect.UnionType, path: _Path, parse: str) -> Any:
        """Which of several types a value may be, in the order: nothing, a listed word, the one other type."""
        kinds = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
        if node.value is None and len(kinds) < len(kind.types):
            return None
        if parse == "money":
            return self._money(node, path)
        words = [option for option in kinds if isinstance(option, inspect.LiteralType)]
        others = [option for option in kinds if not isinstance(option, inspect.LiteralType)]
        if words and not others:
            return self._literal(node, words[0], path)
        if any(node.value == value and isinstance(node.value, str) for word in words for value in word.values):
            return node.value
        if len(others) > 1:
            if node.value is None or isinstance(node.value, dict | list):
                return self._wrong(node, path, f"needs a text, a number, true or false, got {node.kind}")
            return node.value
        before = len(self.problems)
        made = self.value(node, others[0], path, parse)
        if made is _WRONG and words and len(self.problems) == before + 1:
            last = self.problems.pop()
            either = " or ".join(str(value) for word in words for value in word.values)
            self.problems.append(msgspec.structs.replace(last, message=f"{last.message}, or {either}"))
        return made

    def _scalar(self, node: Node, kind: inspect.Type, path: _Path, parse: str) -> Any:
        value = node.value
        match kind:
            case inspect.StrType():
                return self._text(node, kind, path, parse)
            case inspect.BoolType():
                if not isinstance(value, bool):
                    return self._wrong(node, path, f"needs true or false, got {_seen(node)}")
                return value
            case inspect.IntType():
                if isinstance(value, bool) or not isinstance(value, int):
                    return self._wrong(node, path, f"needs a whole number, got {_seen(node)}")
                return self._bounded(node, kind, path, value)
            case inspect.FloatType():
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                    return self._wrong(node, path, f"needs a number, got {_seen(node)}")
                return self._bounded(node, kind, path, float(value))
        raise AssertionError(f"the document has a field of type {kind}, which this walk does not know")

    def _bounded(self, node: Node, kind: inspect.IntType | inspect.FloatType, path: _Path, value: float) -> Any:
        if kind.ge is not None and value < kind.ge:
            return self._wrong(node, path, f"is {node.value}; give at least {kind.ge}")
        if kind.le is not None and value > kind.le:
            return self._wrong(node, path, f"is {node.value}; give at most {kind.le}")
        return value

    def _text(self, node: Node, kind: inspect.StrType, path: _Path, parse: str) -> Any:
        value = node.value
        secret = kind.pattern == REFERENCE_PATTERN  # then a wrong value may be the secret itself: it is not shown
        if not isinstance(value, str):
            if isinstance(value, dict | list) or value is None:
                return self._wrong(node, path, f"needs a text, got {node.kind}")
            value = node.text
            if not parse:
                return self._wrong(node, path, f"needs a text, got {_seen(node, secret)}; put it in quotes")
        if kind.max_length is not None and len(value) > kind.max_length:
            return self._wrong(node, path, f"has {len(value)} characters; give at most {kind.max_length}")
        if parse:
            return self._measured(node, value, path, parse)
        if kind.min_length is not None and len(value) < kind.min_length:
            return self._wrong(node, path, "is empty; write something or leave the key out")
        if kind.pattern is not None and (re.search(kind.pattern, value) is None or value.endswith("\n")):
            said = "is not a reference" if secret else f"is {shown(value)}"
            return self._wrong(node, path, f"{said}; {PATTERN_WORDS[kind.pattern]}")
        return value

    def _measured(self, node: Node, value: str, path: _Path, parse: str) -> Any:
        try:
            amount = units.duration_us(value) if parse == "duration" else units.size_bytes(value)
        except ValueError as error:
            return self._wrong(node, path, str(error))
        if parse == "duration" and not 0 < amount <= DURATION_US_MAX:
            return self._wrong(node, path, f"is {shown(value)}; give more than nothing and at most 3650d")
        if parse == "size" and not 0 < amount <= SIZE_BYTES_MAX:
            return self._wrong(node, path, f"is {shown(value)}; give more than nothing and at most 65536TiB")
        return value

    def _money(self, node: Node, path: _Path) -> Any:
        if not _MONEY.fullmatch(node.text) or float(node.text) > DOLLARS_MAX:
            return self._wrong(
                node, path, f"is {_seen(node)}; write dollars like 2.10, at most 9 decimals, at most {DOLLARS_MAX}"
            )
        return node.text

    def _wrong(self, node: Node, path: _Path, message: str) -> Any:
        where = f"{self._filename}:{node.line}:{node.col}"
        self.problems.append(Problem(where=where, path=spelled(path), message=message))
        return _WRONG


def _bare(kind: inspect.Type) -> inspect.Type:
    return _bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _seen(node: Node, secret: bool = False) -> str:
    if isinstance(node.value, dict | list) or node.value is None or secret:
        return node.kind
    return shown(node.text)
