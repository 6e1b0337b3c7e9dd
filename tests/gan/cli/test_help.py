"""The help that is written by hand: it is short, quick, and names what there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gan.cli import main as main_module
from gan.cli.command import CLI
from gan.cli.configurations import check_program, find_configuration, shipped, with_configurations
from gan.cli.help import HELP, SHORT_HELP
from gan.cli.main import main

ROOT = Path(__file__).parents[3]
OPTION = re.compile(r"--([a-z_]+(?:\.[a-z_]+)*)")


def test_it_is_short():
    assert len(HELP.splitlines()) <= 25
    assert all(len(text.splitlines()) <= 60 for text in SHORT_HELP.values())
    assert all(len(line) <= 120 for text in (HELP, *SHORT_HELP.values()) for line in text.splitlines())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["fit", "--help"], ["validate", "-h"], ["fti"]])
def test_it_waits_for_neither_torch_nor_lightning(arguments):
    asked = (
        "import sys; from gan.cli.main import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "print({'torch', 'pytorch_lightning', 'jsonargparse', 'numpy', 'yaml'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.endswith("set()\n")
    assert len(found.stdout.splitlines()) > 15 or arguments == ["fti"]


@pytest.mark.parametrize("command", SHORT_HELP)
def test_every_option_it_names_is_one_of_the_parser(command):
    """Those of a class that is chosen on the command line are looked up in this class."""
    parser = CLI(run=False).parser
    known = {option for action in parser._actions for option in action.option_strings}
    classes = {"metrics": "gan.callbacks.Evaluation", "data": "gan.data.Folder"}
    for name in set(OPTION.findall(SHORT_HELP[command])) - {"help", "ckpt_path", "callbacks"}:
        first, _, rest = name.partition(".")
        if f"--{name}" in known or name.endswith(".help"):
            continue
        if first in classes:
            module, _, kind = classes[first].rpartition(".")
            arguments = getattr(__import__(module, fromlist=[kind]), kind).__init__.__annotations__
            assert rest in arguments, name
        else:
            assert f"--{name.rpartition('.')[0]}" in known, name  # an argument of an optimizer


def test_all_of_the_options_are_there_too(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--help", "all"])
    assert exit_.value.code == 0
    assert "--trainer.gradient_clip_val" in capsys.readouterr().out


def test_a_wrong_command_names_the_right_ones(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["smaple", "runs"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no command 'smaple'; known are fit, validate, test, sample, export, push")
    assert said.endswith("did you mean sample?\n")


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    found = main_module.find_spec
    monkeypatch.setattr(main_module, "find_spec", lambda name: None if name == "pytorch_lightning" else found(name))
    with pytest.raises(SystemExit, match=r"^error: gan needs pytorch-lightning: pip install 'convnorm-gan\[gan\]'"):
        main(["fit"])


def test_without_a_configuration_one_line_says_what_gives_the_options(capsys):
    with pytest.raises(SystemExit):
        main(["fit"])
    assert capsys.readouterr().err.endswith("fit.data; a configuration has them: --config NAME or FILE\n")


def test_configurations_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert list(shipped().values()) == files
    for name in "cifar10/dcgan", "cifar10/dcgan.yaml", "configs/cifar10/dcgan.yaml":
        assert find_configuration(name) == ROOT / "configs" / "cifar10" / "dcgan.yaml"
    with pytest.raises(ValueError, match=r"no file quikstart, .* did you mean quickstart\?"):
        find_configuration("quikstart")
    (tmp_path / "quickstart").write_text("a file of this name comes first")
    assert find_configuration("quickstart") == Path("quickstart")


@pytest.mark.parametrize(
    ("config", "owner", "command"),
    [
        ("robustness/digits", "robustness", "python -m robustness"),
        ("quickstart", "gan", "gan"),
        ("metrics/inception", "gan", "gan"),
        (str(ROOT / "configs" / "quickstart.yaml"), "gan", "gan"),
    ],
)
def test_a_configuration_of_the_other_program_is_refused(config, owner, command, tmp_path):
    (own := tmp_path / "own.yaml").touch()
    check_program(["fit", "--config", config, f"--config={own}"], owner)
    other = {"gan": "robustness", "robustness": "gan"}[owner]
    with pytest.raises(ValueError, match=rf"^--config: [a-z/]+ is for {command}$"):
        check_program(["fit", f"--config={own}", f"--config={config}"], other)


def test_a_run_brings_its_own_configuration(tmp_path):
    run = tmp_path / "version_0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("a: 1")
    (checkpoint := run / "checkpoints" / "step_00000001.ckpt").touch()
    own = ["--config", str(run / "config.yaml")]
    assert with_configurations(["validate", str(run)]) == ["validate", *own, "--ckpt_path", str(run)]
    assert with_configurations(["fit", f"--ckpt_path={checkpoint}"]) == ["fit", *own, f"--ckpt_path={checkpoint}"]
    other = ["--config", str(ROOT / "configs" / "quickstart.yaml")]
    assert with_configurations(["fit", "--resume", str(run), *other]) == ["fit", *own, "--resume", str(run), *other]
    assert with_configurations(["validate", str(run), *other]) == ["validate", *own, "--ckpt_path", str(run), *other]
    assert with_configurations(["fit", "--ckpt_path", "last", *other]) == ["fit", "--ckpt_path", "last", *other]
    with pytest.raises(ValueError, match="there is no run or checkpoint nowhere"):
        with_configurations(["fit", "--resume", "nowhere"])
