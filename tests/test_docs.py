"""The documentation says what is true: its commands and snippets run, its links lead somewhere, its API is complete.

A page is followed from top to bottom in a folder of its own, as a reader would:

- A block that begins with a comment that names a file (`# my_norms.py`) is saved under that name.
- Python is executed; all blocks of a page share their names.
- Commands run narrow networks on small images, with few samples and 2 generator steps (2 more where they resume). What
  needs several machines or GPUs is only parsed. Of `make`, only the target is looked up.
- The papers' Inception, which would be downloaded, is replaced by an average over pixels.
"""

import ast
import importlib
import os
import pkgutil
import re
import runpy
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import gan

ROOT = Path(__file__).parent.parent
MARKDOWN = sorted([*ROOT.glob("*.md"), ROOT / "convnorm" / "README.md", *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"# (\w+\.(?:py|yaml))\n")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
DOCUMENTED_UNDERSCORES = "_exit", "_asdict", "_fields", "_replace"
LAUNCHERS = "torchrun", "srun"
NARROW, NARROW_RESNET = {"width": 8}, {"width_multiplier": 1 / 16}
CHANGES = {
    "gan.data.CIFAR10": {"root": "cifar"},
    "robustness.evaluation.Evaluation": {"num_corrupted": 8, "num_attacked": 8, "corruptions": ["Brightness"]},
    "gan.networks.DCGANGenerator": NARROW,
    "gan.networks.DCGANDiscriminator": NARROW,
    "gan.networks.SNGANCNNGenerator": NARROW,
    "gan.networks.SNGANCNNDiscriminator": NARROW,
    "gan.networks.SNGANResNetGenerator": NARROW_RESNET,
    "gan.networks.SNGANResNetDiscriminator": NARROW_RESNET,
}
STAND_IN = """
from gan.metrics import FeatureNetwork

class Pixels(FeatureNetwork):
    name, resize = "pixels", "none"

    def forward(self, images):
        features = images.float().mean((2, 3))
        return features, features
"""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", "").splitlines() if line and not line.startswith("#")]


PAGES = [page for page in MARKDOWN if {"bash", "python"} & {language for language, _ in blocks(page)}]
COMMANDS = [
    (name_of(page), line, block.startswith("#!"))
    for page in PAGES
    for language, block in blocks(page)
    if language == "bash"
    for line in commands(block)
]


# What can be seen without running anything


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_links_lead_to_files(page):
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_interactive_shells_take_every_line(page):
    """An interactive zsh takes `#` for no comment, and looks for files that match what is not quoted."""
    for language, block in blocks(page):
        if language != "bash" or block.startswith("#!"):
            continue
        for line in block.splitlines():
            unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
            assert not re.search(r"[][*?^#~(){}!<>]", unquoted), line


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(("page", "line", "is_script"), COMMANDS)
def test_zsh_splits_lines_as_bash_does(page, line, is_script):
    if not is_script:  # bash runs scripts
        assert words(line, shell="zsh") == words(line)


def test_every_public_package_is_in_the_reference():
    documented = set(re.findall(r"automodule:: ([\w.]+)", "".join(page.read_text() for page in REFERENCE.glob("*.md"))))
    for module in documented:
        importlib.import_module(module)
    public = {f"gan.{module.name}" for module in pkgutil.iter_modules(gan.__path__) if module.ispkg}
    assert public | {"convnorm", "gan", "gan.module"} <= documented


def private_names() -> dict[str, set[str]]:
    """Return the names of others that begin with an underscore, with the files of `gan` that use them."""
    ours, used = set(DOCUMENTED_UNDERSCORES), {}
    for path in (ROOT / "gan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            match node:
                case ast.ClassDef(body=body):  # its methods and attributes
                    ours |= {each.name for each in body if isinstance(each, ast.FunctionDef)}
                    bound = [each for each in body if isinstance(each, ast.Assign | ast.AnnAssign)]
                    inside = [name for each in bound for name in ast.walk(each) if isinstance(name, ast.Name)]
                    ours |= {name.id for name in inside if isinstance(name.ctx, ast.Store)}
                case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=ast.Store()):
                    ours.add(node.attr)
                case ast.Attribute():
                    names = [node.attr]
                case ast.ImportFrom() if not (node.module or "").startswith("gan"):
                    names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("_") and not name.startswith("__"):
                    used.setdefault(name, set()).add(name_of(path))
    return {name: files for name, files in used.items() if name not in ours}


def test_what_the_code_needs_of_lightning_is_listed():
    page = (ROOT / "docs" / "project" / "lightning.md").read_text(encoding="utf-8")
    private, public = (re.findall(r"^\| (?!behavior|name|---)(.*) \|$", part, re.M) for part in page.split("## ")[1:])
    listed = {row.split(" | ")[0].strip("`"): row.split(" | ")[1].strip("`") for row in private}
    used = private_names()
    assert listed.keys() == used.keys()
    assert not {name: file for name, file in listed.items() if file not in used[name]}
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for row in private + public:
        _, where, _, guards = row.split(" | ")
        assert (ROOT / where.strip("`")).is_file(), row
        assert re.findall(r"`(test_\w+)`", guards), row
        assert all(f"def {name}(" in tests for name in re.findall(r"`(test_\w+)`", guards)), row


# Running


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Go to an empty folder with the configurations, made small, and small images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("CONVNORM_GAN_CACHE", str(tmp_path / "cache"))
    Path("stand_in.py").write_text(STAND_IN)
    for source in (ROOT / "configs").rglob("*.yaml"):
        target = Path("configs", source.relative_to(ROOT / "configs"))
        target.parent.mkdir(parents=True, exist_ok=True)
        save_small(target, source.read_text(encoding="utf-8"))
    write_images(Path("photos"), [Path("cat"), Path("dog")], 8)
    write_images(Path("cifar"), [Path(split, str(label)) for split in ("train", "test") for label in range(10)], 2)
    write_images(Path("other"), [Path()], 32)
    shutil.make_archive("other", "zip", "other")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:  # my_norms of this page is not that of another
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore:a Frechet distance from")  # so few images are compared here
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_says_runs(page, desk):
    names: dict[str, Any] = {}
    for language, block in blocks(page):
        if file := FILE_NAME.match(block):
            save_small(Path(file[1]), block) if language == "yaml" else Path(file[1]).write_text(block)
        elif language == "python":
            exec(compile(block, name_of(page), "exec"), names)
        elif language == "bash":
            for line in commands(block):
                follow(line)


def follow(line: str) -> None:
    """Do what a command of the documentation asks for, as far as a test can."""
    match words(line):
        case ["make", target]:
            assert f"\n{target}:" in (ROOT / "Makefile").read_text()
        case ["source", ".venv/bin/activate"] | ["pip", "install", "-e", ".[gan]"]:
            pass
        case ["python", "-m", "robustness", *arguments]:
            run(shortened(arguments), "robustness/__main__.py")
        case ["python", "train.py", *arguments] | ["gan", *arguments]:
            run(shortened(arguments))
        case [launcher, *arguments] if launcher in LAUNCHERS:
            run([*arguments[arguments.index("fit") :], "--print_config"])
        case _:
            pytest.fail(f"how is this tested? {line}")


def words(line: str, shell: str = "bash") -> list[str]:
    """Return the words of a command as a shell passes them on, in a job that SLURM has started again."""
    job = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}
    command = [shell, "-c", f"printf '%s\\0' {line}"]
    printed = subprocess.run(command, env={**os.environ, **job}, capture_output=True, text=True, check=True).stdout
    return printed.split("\0")[:-1]


def shortened(arguments: list[str]) -> list[str]:
    """Let a command do little: or nothing but parse, if it needs more than one machine or CPU has."""
    arguments = [f"configs/{word}.yaml" if Path("configs", f"{word}.yaml").exists() else word for word in arguments]
    if any(argument.endswith((".help", "print_config")) for argument in arguments):
        return arguments
    if "--trainer.devices" in arguments and "cpu" not in arguments:
        return [*arguments, "--print_config"]
    if arguments[0] in ("fit", "validate", "test"):
        arguments = [*arguments, "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    if "--trainer.devices" in arguments:
        arguments.append("--metrics=null")
    if arguments[0] == "fit":
        goes_on = {"--ckpt_path", "--resume"} & set(arguments)
        arguments.append(f"--trainer.max_steps={4 if goes_on else 2}")
    few = {"sample": "--num=5"}
    if (what := arguments[0]) in few and not {"--grid", "--interpolate", "--walk"} & set(arguments):
        arguments.append(few[what])
    return arguments


def run(arguments: list[str], program: str = "train.py") -> None:
    """Run the command line in a process of its own, which is cheap: all is imported already."""
    import gan.cli.entry  # noqa: F401

    if (
        "--trainer.devices" in arguments and "--print_config" not in arguments
    ):  # Lightning starts the others as this one was started
        subprocess.run([sys.executable, str(ROOT / "train.py"), *arguments], check=True)
        return
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.stdout = sys.stderr = output = open("output.txt", "w")  # noqa: SIM115 (to the end of the process)
            os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
            sys.argv = [str(ROOT / program), *arguments]
            signal.alarm(300)
            warnings.resetwarnings()  # what pytest made an error is none for a reader
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"{' '.join(arguments)}\n{Path('output.txt').read_text()}"


def save_small(path: Path, text: str) -> None:
    """Save a configuration with narrow networks, small batches, few samples, images of this test, and no Inception."""
    path.write_text(yaml.safe_dump(small(yaml.safe_load(text))))


def small(value: Any) -> Any:
    if isinstance(value, list):
        return [small(each) for each in value]
    if not isinstance(value, dict):
        return "stand_in.Pixels" if value == "gan.metrics.InceptionV3" else value
    made = {key: small(each) for key, each in value.items()}
    made |= {key: least for key, least in {"batch_size": 8, "num_samples": 32}.items() if key in made}
    if made.get("features") == "stand_in.Pixels":
        made |= {"num_samples": 32, "batch_size": 8}
    if change := CHANGES.get(made.get("class_path", "")):
        made["init_args"] = made.get("init_args", {}) | change
    return made


def write_images(root: Path, folders: list[Path], count: int) -> None:
    rng = np.random.default_rng(0)
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
