"""All mutants of a source: one small change each, as text, so that a survivor can be shown and lines keep their places.

    for mutant in mutants(source):
        print(mutant.line, mutant)      # 12 merge: a < b -> a <= b
        mutant.applied(source)          # the source with the change

What is changed: comparisons, arithmetic, `and` and `or`, `not`, signs, numbers, `True` and `False` (defaults of
arguments and of fields, too), conditions, what is returned, and whether a statement runs. Not: annotations, words of
messages and what is put into them, assertions, `__repr__` and `__str__`, options of `@dataclass`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

COMPARISONS = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}
ARITHMETIC = {
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "/"),
    ast.Pow: (r"\*\*", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: (r"\|", "&"),
    ast.BitXor: (r"\^", "|"),
}
SILENT = {"__repr__", "__str__"}
SPOKEN = {"warn", "warn_once"}  # calls whose arguments are words


@dataclass(frozen=True)
class Mutant:
    """One change: `source[start:stop]` becomes `text`."""

    where: str  # the function or class
    line: int  # of the statement that tests have to run; 0 where it runs at the import
    start: int
    stop: int
    text: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.where}: {self.before} -> {self.after}"

    def applied(self, source: str) -> str:
        lost = source[self.start : self.stop].count("\n") - self.text.count("\n")
        return source[: self.start] + self.text + "\n" * lost + source[self.stop :]


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module's source that compile, in the order of the text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return [mutant for mutant in finder.found if _compiles(mutant.applied(source))]


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Mutant] = []
        self.where: list[str] = []
        self.statement: ast.stmt | None = None  # none outside of functions
        self.in_function = 0
        # Columns count bytes; here is where each line begins, in characters.
        self.lines = source.splitlines(keepends=True)
        self.begins = [0]
        for line in self.lines:
            self.begins.append(self.begins[-1] + len(line))

    # Where a node is

    def at(self, line: int, column: int) -> int:
        return self.begins[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno or 0, node.end_col_offset or 0)

    def add(self, shown: ast.expr | ast.stmt, start: int, stop: int, text: str) -> None:
        begin, end = self.span(shown)
        before = self.source[begin:end]
        after = self.source[begin:start] + text + self.source[stop:end]
        line = 0 if self.statement is None else self.statement.lineno
        where = ".".join(self.where) or "module"
        self.found.append(Mutant(where, line, start, stop, text, _one_line(before), _one_line(after)))

    def operator(self, shown: ast.expr | ast.stmt, after: int, before: int, pair: tuple[str, str]) -> None:
        # Between two operands are the operator, white space and parentheses.
        found = re.search(pair[0], self.source[after:before])
        if found:
            self.add(shown, after + found.start(), after + found.end(), pair[1])

    # What holds statements

    def visit(self, node: ast.AST) -> None:
        outer = self.statement
        if isinstance(node, ast.stmt) and self.in_function:
            self.statement = node
        super().visit(node)
        self.statement = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in SILENT:
            return
        self.where.append(node.name)
        self.statement = None
        for decorator in node.decorator_list:
            self.visit(decorator)
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        self.statement = body[0] if body else None  # a default takes effect where the function runs
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self.in_function += 1
        for statement in body:
            self.visit(statement)
        self.in_function -= 1
        self.where.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.where.append(node.name)
        for part in (*node.decorator_list, *node.body):
            self.visit(part)
        self.where.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.condition(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self.condition(condition)
        self.generic_visit(node)

    def condition(self, test: ast.expr) -> None:
        if isinstance(test, ast.Constant) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            return  # the same as `False` for `True`, and as leaving out `not`
        start, stop = self.span(test)
        self.add(test, start, stop, f"not ({self.source[start:stop]})")

    # Whether a statement runs

    def drop(self, node: ast.stmt) -> None:
        self.add(node, *self.span(node), "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            self.drop(node)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.drop(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        pass  # for the type checker

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, *self.span(node), "break")

    def visit_Break(self, node: ast.Break) -> None:
        self.add(node, *self.span(node), "continue")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.drop(node)
        if type(node.op) in ARITHMETIC:
            pattern, text = ARITHMETIC[type(node.op)]
            self.operator(node, self.span(node.target)[1], self.span(node.value)[0], (f"{pattern}=", f"{text}="))
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        if not (isinstance(node.value, ast.Constant) and node.value.value in (None, False)):  # None is as false
            self.add(node, *self.span(node.value), "None")
        self.visit(node.value)

    # Expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            self.operator(node, self.span(left)[1], self.span(right)[0], COMPARISONS[type(op)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in ARITHMETIC:
            self.operator(node, self.span(node.left)[1], self.span(node.right)[0], ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.operator(node, self.span(left)[1], self.span(right)[0], (word, other))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.add(node, self.span(node)[0], self.span(node.operand)[0], "")
        if isinstance(node.op, ast.Not | ast.Invert):
            self.visit(node.operand)

    def visit_Constant(self, node: ast.Constant) -> None:
        start, stop = self.span(node)
        if isinstance(node.value, bool):
            self.add(node, start, stop, str(not node.value))
        elif isinstance(node.value, int | float):
            self.add(node, start, stop, repr(node.value + 1))

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":  # of `zip`: an assertion
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in SPOKEN and name != "dataclass":
            self.generic_visit(node)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
