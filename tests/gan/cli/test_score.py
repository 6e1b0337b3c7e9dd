import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from gan.cli.score import main
from gan.metrics import DigitsClassifier, Frechet, evaluate


def write(folder, count, size=(32, 32), seed=0):
    folder.mkdir(exist_ok=True)
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (count, *size), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a", 70)
    write(tmp_path / "b", 80, seed=1)


DIGITS = "--features=digits", "--channels=1"


@pytest.mark.filterwarnings("ignore:a Frechet distance")
def test_prints_what_evaluate_returns(folders, capsys):
    main(["a", "b", *DIGITS, "--scores=Frechet,InceptionScore", "--batch-size=16"])
    result = evaluate("a", "b", DigitsClassifier(), [Frechet()], channels=1, batch_size=16)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"fd_digits: {result.values['fd_digits']!r}"
    assert [line.split(": ")[0] for line in lines] == ["fd_digits", "is_digits", "is_digits_std", "protocol"]
    assert "reference b 32x32x1; reference_images 80;" in lines[-1]
    assert "samples 70; source a;" in lines[-1]


def test_without_a_reference_is_the_inception_score(folders, capsys):
    main(["a", *DIGITS])
    assert capsys.readouterr().out.startswith("is_digits: ")


def test_classes_of_one_s_own(folders, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Mean(nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images.float().mean((2, 3)), None\n"
    )
    main(["a", "b", "--features=mine.Mean", "--scores=gan.metrics.Frechet"])
    assert capsys.readouterr().out.startswith("fd_mean: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "b", *DIGITS], "images: root 'none' does not exist; a folder or a zip of images is needed"),
        (["a", "none", *DIGITS], "reference: root 'none' does not exist; a folder or a zip of images is needed"),
        (["a", "small", *DIGITS], "images are 32x32x1, those of the reference 9x9x1 (width x height x channels): "),
        (["mixed", "a", *DIGITS], "'070.png' in 'mixed' has 9x9 pixels, the first image 32x32: choose a size that all"),
        (["a", "b", "--features=digits"], "DigitsClassifier takes images of shape (N, 1, 32, 32), got (1, 3, 32, 32)"),
        (
            ["a", "b", "--features=Digits"],
            "--features must be inception, digits, module.Class of yours, or torch-fidelity's: ext",
        ),
        (["a", "b", "--features=no.Network"], "--features no.Network cannot be imported: No module named 'no'"),
        (["a", "b", "--features=gan.metrics.Frechet"], "--features gan.metrics.Frechet must be a subclass of torch.nn"),
        (["a", "b", "--features=torch.nn.Linear"], "--features torch.nn.Linear cannot be made: "),
        (["a", "b", *DIGITS, "--scores=FID"], "--scores must be among DensityCoverage, Frechet, InceptionScore, Ke"),
        (["a", *DIGITS, "--scores=Frechet"], "Frechet needs reference images to compare with, got none"),
        (["a", "b", *DIGITS, "--scores=KernelDistance"], "KernelDistance: subset_size must be at most the number of "),
        (["a", "b", *DIGITS, "--batch-size=0"], "batch_size must be at least 1, got 0"),
        (["a", "b", *DIGITS, "--size=0"], "images: size must be at least 1, got 0"),
        (["a", "b", *DIGITS, "--device=gpu"], "--device gpu cannot be used: "),
        (["a", "b", "--weights=none.pth"], "weights_path: there is no file none.pth; Inception's weights are at http"),
    ],
)
def test_mistakes_are_explained_in_one_line(folders, tmp_path, capsys, arguments, message):
    write(tmp_path / "small", 70, (9, 9))
    write(tmp_path / "mixed", 71, (9, 9))
    write(tmp_path / "mixed", 70)
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.filterwarnings("ignore:a Frechet distance")
def test_any_size(folders, tmp_path, capsys):
    write(tmp_path / "small", 80, (100, 100))
    main(["a", "small", *DIGITS, "--size=32"])
    assert "fd_digits: " in capsys.readouterr().out


def test_help_needs_no_torch():
    code = "import sys\nfrom gan.cli.score import main\n"
    code += "try: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "folder or zip of the images to score" in found.stdout
    assert found.stdout.endswith("False\n")


def test_evaluate_in_python_of_tensors_and_files_agree(folders):
    a = np.random.default_rng(0).integers(0, 256, (70, 32, 32), np.uint8)
    from_tensor = evaluate(torch.from_numpy(a)[:, None], "b", DigitsClassifier(), channels=1).values
    assert from_tensor == evaluate("a", "b", DigitsClassifier(), channels=1).values
