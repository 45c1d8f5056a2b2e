"""Generate mutants of a source file: small changes that some test should detect.

A mutant changes one field of one node of the syntax tree: an operator, a constant, a condition, an
element, a keyword, a statement, a returned value. Annotations and docstrings are not changed.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

_OPPOSITES: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.Is: ast.IsNot, ast.In: ast.NotIn,
    ast.And: ast.Or, ast.Add: ast.Sub, ast.Mult: ast.FloorDiv, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_OPPOSITES |= {there: here for here, there in _OPPOSITES.items()}
_TURNED = (ast.Compare, ast.UnaryOp)
"""Conditions that other mutants negate already."""
_ANNOTATIONS = {"annotation", "returns", "type_params"}
_AT_IMPORT = {"defaults", "kw_defaults", "decorator_list"}


@dataclass(frozen=True)
class Mutant:
    path: Path
    tree: ast.Module
    node: ast.AST
    field: str
    value: Any
    what: str
    lines: range
    function: tuple[str, int] | None
    """Qualified name and line of the outermost function; None for code that runs at import."""

    def __str__(self) -> str:
        name = self.function[0] if self.function else "-"
        return f"{self.path}:{self.lines.start} {name}: {self.what}"

    def compiled(self) -> CodeType:
        """Return the code object of the mutated module; restore the tree."""
        before = getattr(self.node, self.field)
        setattr(self.node, self.field, self.value)
        try:
            return compile(ast.fix_missing_locations(self.tree), str(self.path.resolve()), "exec")
        finally:
            setattr(self.node, self.field, before)


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a file, each with a unique description."""
    tree = ast.parse(path.read_text())
    known: Counter[str] = Counter()
    for found in _below(tree, "", None, range(0)):
        mutant = Mutant(path, tree, *found)
        known[str(mutant)] += 1
        if (times := known[str(mutant)]) > 1:
            mutant = replace(mutant, what=f"{mutant.what} ({times})")
        yield mutant


Found = tuple[ast.AST, str, Any, str, range, tuple[str, int] | None]


def _below(
    node: ast.AST, scope: str, function: tuple[str, int] | None, lines: range
) -> Iterator[Found]:
    if isinstance(node, (ast.stmt, ast.match_case)) and hasattr(node, "lineno"):
        lines = range(node.lineno, node.lineno + 1)
    inside = function
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        scope = f"{scope}.{node.name}".lstrip(".")
        if not isinstance(node, ast.ClassDef) and function is None:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            inside = scope, first
    for field, value, what, child in _changes(node):
        there = inside if field == "body" else function
        place = _lines(child) or _lines(node) or lines
        yield node, field, value, what, place, there
    for field, below in ast.iter_fields(node):
        if field in _ANNOTATIONS:
            continue
        there = function if field in _AT_IMPORT else inside
        for child in below if isinstance(below, list) else [below]:
            if isinstance(child, ast.AST):
                yield from _below(child, scope, there, lines)


def _lines(node: ast.AST) -> range:
    """Return the lines of a node, one of which a test must execute; empty if it has none."""
    if not isinstance(node, (ast.expr, ast.stmt, ast.keyword)):
        return range(0)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _changes(node: ast.AST) -> Iterator[tuple[str, Any, str, ast.AST]]:
    """Yield each change of a node: field, new value, description and replaced child."""
    for field, value in ast.iter_fields(node):
        if isinstance(value, list):
            for index, child in enumerate(value):
                for other, what in _instead(node, field, child):
                    yield field, [*value[:index], *other, *value[index + 1 :]], what, child
        elif isinstance(value, ast.AST) and field not in _ANNOTATIONS:
            for other, what in _instead(node, field, value):
                if other or field == "guard":
                    yield field, other[0] if other else None, what, value


def _instead(node: ast.AST, field: str, child: Any) -> Iterator[tuple[list[ast.AST], str]]:
    """Yield replacements of a child (one node, or none), each with a description."""
    if not isinstance(child, ast.AST):
        return
    told = f"`{ast.unparse(child)[:70]}`"
    yield from _other_value(node, child, told)
    if _is_dispensable(child):
        yield [ast.Pass()], f"{told} left out"
    if field == "test" and isinstance(child, ast.expr) and not isinstance(child, _TURNED):
        yield [ast.UnaryOp(ast.Not(), child)], f"not {told}"
    if field == "guard":
        yield [], f"if {told} for all"
    if isinstance(node, ast.Return) and not isinstance(child, ast.Constant):
        yield [ast.Constant(None)], f"None for {told}"
    loaded = not isinstance(getattr(node, "ctx", None), ast.Store)
    if field == "elts" and loaded:
        yield [], f"{told} left out of `{ast.unparse(node)[:60]}`"
    if isinstance(node, ast.MatchOr):
        yield [], f"{told} left out of the pattern"


def _is_dispensable(child: ast.AST) -> bool:
    """Whether a statement can be removed without an immediate error."""
    match child:
        case ast.Expr(value=ast.Call() | ast.Yield()) | ast.Return(value=None):
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
        case _:
            return isinstance(
                child, (ast.AugAssign, ast.Raise, ast.Continue, ast.Break, ast.Delete)
            )


def _other_value(node: ast.AST, child: ast.AST, told: str) -> Iterator[tuple[list[ast.AST], str]]:
    match child:
        case ast.Constant(value=bool() as value):
            yield [ast.Constant(not value)], f"{value} → {not value}"
        case ast.Constant(value=int() as value):
            yield [ast.Constant(value + 1)], f"{value} → {value + 1}"
        case ast.Constant(value=str() as value) if not isinstance(node, ast.Expr):
            yield [ast.Constant(f"{value}XX")], f"{value!r} gets XX"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield [operand], f"{told} without not"
        case ast.BoolOp(values=values):
            for index, one in enumerate(values):
                rest = [*values[:index], *values[index + 1 :]]
                other = rest[0] if len(rest) == 1 else ast.BoolOp(child.op, rest)
                yield [other], f"{told} without `{ast.unparse(one)}`"
        case ast.IfExp(body=body, orelse=orelse):
            yield [body], f"{told}: always the first"
            yield [orelse], f"{told}: always the second"
        case ast.operator() | ast.boolop() | ast.cmpop() if type(child) in _OPPOSITES:
            opposite = _OPPOSITES[type(child)]
            names = f"{type(child).__name__} → {opposite.__name__}"
            yield [opposite()], f"`{ast.unparse(node)[:70]}`: {names}"
        case ast.keyword(arg=str()) if isinstance(node, ast.Call):
            yield [], f"{told} not handed over"
        case ast.comprehension(ifs=[_, *_]):
            bare = ast.comprehension(child.target, child.iter, [], child.is_async)
            yield [bare], f"{told} of all"
        case ast.match_case():
            yield [ast.match_case(child.pattern, child.guard, [ast.Pass()])], f"{told} left out"
        case _:
            pass
