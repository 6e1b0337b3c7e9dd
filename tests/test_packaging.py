"""The package asks for what the tests run with, and the library for nothing but torch."""

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import gan

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_the_extra_is_the_first_part_of_the_requirements():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first_part = (ROOT / "requirements.txt").read_text().split("\n\n")[0]
    lines = [line.split("#")[0].strip() for line in first_part.splitlines()]
    assert project["optional-dependencies"]["gan"] == [line for line in lines if line]
    assert project["dependencies"] == ["torch>=2.11"]


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == gan.__version__
    assert f"\n## [{gan.__version__}] - 20" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "convnorm").glob("**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_convnorm_imports_torch_alone(path):
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    when_needed = {"triton"} if path.parent.name == "gpu" else set()
    assert modules - set(sys.stdlib_module_names) <= {"torch", "convnorm"} | when_needed


def test_to_import_convnorm_takes_no_compiler():
    """It would take as long as torch itself."""
    asked = "import sys, convnorm; print(any(name in sys.modules for name in ('torch._dynamo', 'triton')))"
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.slow
def test_a_wheel_holds_the_configurations_and_the_command(tmp_path):
    """They lie once, beside the package, and are mapped into it."""
    source = tmp_path / "source"
    for name in "convnorm", "gan", "configs", "studies":
        shutil.copytree(ROOT / name, source / name)
    for name in "pyproject.toml", "setup.py", "README.md", "LICENSE":
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, str(source), "--wheel-dir", str(tmp_path)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "gan = gan.cli.main:main" in archive.read(entry).decode()
    files = [path for kind in ("configs", "studies") for path in (ROOT / kind).rglob("*.yaml")]
    assert {f"gan/{path.relative_to(ROOT)}" for path in files} <= names
    modules = [path for package in ("convnorm", "gan") for path in (ROOT / package).rglob("*.py")]
    assert {str(path.relative_to(ROOT)) for path in modules} <= names
    assert {"gan/metrics/digits.pt", "gan/py.typed", "convnorm/py.typed"} <= names
