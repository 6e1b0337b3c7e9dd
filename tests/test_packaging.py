"""The package asks for what the tests run with, and the library for nothing but torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_the_extra_is_the_first_part_of_the_requirements():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first_part = (ROOT / "requirements.txt").read_text().split("\n\n")[0]
    lines = [line.split("#")[0].strip() for line in first_part.splitlines()]
    assert project["optional-dependencies"]["gan"] == [line for line in lines if line]
    assert project["dependencies"] == ["torch>=2.11"]


@pytest.mark.parametrize("path", sorted((ROOT / "convnorm").glob("*.py")), ids=lambda path: path.name)
def test_convnorm_imports_torch_alone(path):
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert modules - set(sys.stdlib_module_names) <= {"torch", "convnorm"}


def test_to_import_convnorm_takes_no_compiler():
    """It would take as long as torch itself."""
    asked = "import sys, convnorm; print('torch._dynamo' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
