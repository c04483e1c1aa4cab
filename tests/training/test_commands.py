"""``python -m training.demo_model COMMAND`` finds the module of each command."""

from __future__ import annotations

import ast
import importlib.util

import pytest

from training.demo_model.__main__ import COMMANDS, module_of


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_its_module(command: str) -> None:
    """Looked for and not imported: some need torch and synthesisers."""
    spec = importlib.util.find_spec(module_of(command))
    assert spec is not None and spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert "main" in functions
