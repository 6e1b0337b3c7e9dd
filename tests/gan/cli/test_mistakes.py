import subprocess
import sys

import pytest

from gan.cli.configurations import find_configuration
from gan.cli.mistakes import mistakes_in_one_line

ROOT = __file__.partition("/tests/")[0]


def test_a_mistake_is_one_line(capsys):
    with pytest.raises(SystemExit, match="1"), mistakes_in_one_line():
        raise OSError("no\n such file")
    assert capsys.readouterr().err == "error: no such file\n"


def test_a_fault_of_the_program_is_raised(monkeypatch):
    with pytest.raises(RuntimeError, match="fault"), mistakes_in_one_line():
        raise RuntimeError("a fault")
    with pytest.raises(TypeError), mistakes_in_one_line():
        raise TypeError
    monkeypatch.setenv("GAN_TRACEBACK", "1")
    with pytest.raises(ValueError, match="whole"), mistakes_in_one_line():
        raise ValueError("whole")


def test_a_closed_pipe_is_no_mistake():
    code = "from gan.cli.mistakes import mistakes_in_one_line\n"
    code += "with mistakes_in_one_line():\n    for _ in range(100_000): print('line')"
    script = f'"{sys.executable}" -c "{code}" | head -1'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_a_folder_hides_no_shipped_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert find_configuration("quickstart").name == "quickstart.yaml"
