"""The notebooks of docs/ run, shortened, and are committed without outputs."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
SHORTER = {"STEPS = 750": "STEPS = 2", "EPOCHS = 15": "EPOCHS = 1"}


def cells(notebook):
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept(notebook):
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(notebook))
    assert all(len(line.rstrip("\n")) <= 120 for cell in cells(notebook) for line in cell["source"])


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVNORM_GAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plt, "show", lambda: plt.savefig(f"{len(list(tmp_path.glob('*.png')))}.png"))
    plt.switch_backend("agg")
    names, shortened = {}, 0
    for cell in cells(notebook):
        source = "".join(cell["source"])
        for text, shorter in SHORTER.items():
            shortened += text in source
            source = re.sub(rf"^{text}$", shorter, source, flags=re.MULTILINE)
        exec(compile(source, notebook.name, "exec"), names)
    plt.close("all")
    assert shortened == 1
    assert list(tmp_path.glob("*.png"))
