"""Turn a parsed chat template into Python that counts its steps and marks its literals.

Imports jinja2, so only `sandbox` may import this module.
"""

# ruff: noqa: N802  (visitors are named after the nodes)

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.parser import Parser

from pacos.text.budget import Refused
from pacos.text.marked import markup

if TYPE_CHECKING:
    from pacos.text.sandbox import Sandbox

SOURCE_DEPTH = 128  # of the syntax tree; honest templates stay under 30
_REFUSED_NODES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport, nodes.EvalContextModifier)
_COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<=", "in": "in", "notin": "not in"}


class Generation(Extension):
    """Accept `{% generation %}`, with which training code marks the assistant's words, and ignore it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the block between the tags as an ordinary scope."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class Generator(CodeGenerator):
    """Write the Python of a template with steps counted and literals marked; never fold constants."""

    environment: Sandbox

    def _literal(self, text: str) -> str:
        self.environment.new_literals.append(markup(text))
        return f"environment.literals[{len(self.environment.new_literals) - 1}]"

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        """Write a block, which takes a step."""
        self.writeline("environment.tick()")
        super().blockvisit(nodes, frame)

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if isinstance(node, nodes.TemplateData):
            return node.data
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            return node.value
        raise nodes.Impossible

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return self._literal("".join(group))

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:
        """Write text of the template."""
        self.write(self._literal(node.data))

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        """Write a constant; strings are markup."""
        if isinstance(node.value, str):
            self.write(self._literal(node.value))
        elif isinstance(node.value, float):
            self.write(f"float({str(node.value)!r})")  # 1e999 is inf, which is not a Python literal
        else:
            super().visit_Const(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Write `a ~ b`."""
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def _operand(self, node: nodes.Expr, frame: Frame) -> None:
        """Write one side of a comparison: constants bare, without marks, all else weighed."""
        items = node.items if isinstance(node, (nodes.List, nodes.Tuple)) else [node]
        if all(isinstance(item, nodes.Const) for item in items):
            self.write(repr(node.as_const(frame.eval_ctx)))
            return
        self.write("environment.weighed(")
        self.visit(node, frame)
        self.write(")")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        """Write a comparison of weighed operands."""
        self.write("(")
        self._operand(node.expr, frame)
        for step in node.ops:
            self.visit(step, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        """Write the next operator and operand of a comparison."""
        self.write(f" {_COMPARISONS[node.op]} ")
        self._operand(node.expr, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """Write `a[b]`; slices go through the environment too."""
        self.write("environment.getitem(")
        self.visit(node.node, frame)
        self.write(", ")
        if isinstance(node.arg, nodes.Const):
            self.write(repr(node.arg.value))
        else:
            self.visit(node.arg, frame)
        self.write(")")

    def visit_Slice(self, node: nodes.Slice, frame: Frame) -> None:
        """Write a slice object."""
        self.write("slice(")
        for bound in (node.start, node.stop, node.step):
            self.visit(bound or nodes.Const(None), frame)
            self.write(", ")
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """Write a dict of checked keys."""
        self.write("{")
        for item in node.items:
            self.write("environment.key(")
            self.visit(item.key, frame)
            self.write("): ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("}")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """Write a loop; its filter takes steps as its body does."""
        if node.test is not None:  # a loop's own filter runs outside of any block
            step = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None, lineno=node.lineno)
            node.test = nodes.And(step, node.test, lineno=node.lineno)
        super().visit_For(node, frame)


def check_tree(tree: nodes.Template) -> None:
    """Refuse what needs a loader and what nests too deeply."""
    todo: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        if isinstance(node, _REFUSED_NODES):
            raise Refused(f"it uses {type(node).__name__.lower()}, line {node.lineno}")
        if depth > SOURCE_DEPTH:
            raise Refused(f"it nests deeper than {SOURCE_DEPTH} levels, line {node.lineno}")
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]
