"""`gan push` and `hf://` against a hub on this machine."""

import io
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from fake_hub import TOKEN, fake_hub
from PIL import Image
from small_trainings import forked

import gan
from gan.cli.main import main
from gan.sharing.card import without_nulls, without_paths
from gan.sharing.download import download

NAME = "anna/digits"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub without models. What talks to it is to be forked: huggingface_hub reads these variables when imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def push(run, *options):
    return forked(lambda: main(["push", str(run), NAME, *options]))


def test_a_run_goes_to_the_hub_and_comes_back(run, hub, capfd):
    assert push(run, "--license", "mit") == 0
    assert capfd.readouterr().out == f"{hub.url}/{NAME}\nuse it: gan.load('hf://anna/digits').sample(16)\n"
    files = hub.files(NAME)
    assert sorted(files) == [
        "README.md",
        "config.yaml",
        "discriminator.safetensors",
        "generator.safetensors",
        "samples.png",
    ]
    assert not any(content.startswith((b"PK", b"\x80")) for content in files.values())  # no pickle
    assert Image.open(io.BytesIO(files["samples.png"])).size == (10 * 34 + 2, 6 * 34 + 2)
    assert hub.unknown == []

    def use():
        model = gan.load(f"hf://{NAME}")
        assert torch.equal(model.sample(70), gan.load(run).sample(70))
        assert model.facts["scores"][0]["protocol"]["source"] == "ema weights"
        main(["sample", f"hf://{NAME}", "--num", "3", "--out", "made"])

    assert forked(use) == 0
    assert len(list(Path("made").rglob("*.png"))) == 3


def test_the_files_can_be_looked_at_first(run, hub, capfd):
    assert push(run, "--out", "model") == 0
    assert capfd.readouterr().out == "model: README.md is the model card\n"
    assert hub.models == {}
    card = Path("model", "README.md").read_text()
    assert 'gan.load("hf://anna/digits")' in card
    assert "null" not in re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1]
    assert push(run) == 0
    assert {name: Path("model", name).read_bytes() for name in hub.files(NAME)} == hub.files(NAME)
    assert push(run, "--out", "model") == 1
    assert "error: model exists already: a new or empty folder is needed" in capfd.readouterr().err


def test_a_revision(run, hub):
    assert push(run, "--private") == push(run) == 0
    assert len(hub.models[NAME]) == 2
    assert hub.private[NAME]
    hub.models[NAME][1] = {}
    assert forked(lambda: gan.load(f"hf://{NAME}@{1:040d}").sample(1)) == 0
    assert forked(lambda: gan.load(f"hf://{NAME}").sample(1)) == 1


def test_the_card_holds_picture_scores_configuration_and_a_use_that_runs(run, hub):
    assert push(run) == 0
    card = hub.files(NAME)["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "convnorm-gan"
    assert "license" not in header
    assert "![Samples of digits](samples.png)" in card
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if "protocol" in line][-1]
    assert f"| `fd_digits` | {last['fd_digits']:.5g} |" in card
    for name, value in last["protocol"].items():
        assert f"{name} {value}" in card
    assert "`DCGANGenerator(image_size=32, channels=1, num_classes=10, latent_dim=64, width=4)`" in card
    assert "normalized by `ConditionalBatch(num_classes=0)`" in card
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1])
    assert config == without_nulls(yaml.safe_load(hub.files(NAME)["config.yaml"]))
    assert config["model"] == without_nulls(yaml.safe_load((run / "config.yaml").read_text()))["model"]
    assert str(run.parents[2]) not in card

    def follow():
        names = {}
        for snippet in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
            exec(snippet, names)
            assert names["images"].shape == (16, 1, 32, 32)

    assert forked(follow) == 0


def test_paths_become_names():
    config = {"data": {"root": "/home/anna/photos/", "name": "a/b"}, "list": ["~/x", "./y", "C:\\z"], "n": 1.5}
    assert without_paths(config) == {"data": {"root": "photos", "name": "a/b"}, "list": ["x", "y", "z"], "n": 1.5}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://anna/nothing", "hf://anna/nothing: there is no such model"),
        ("hf://anna/digits@v2", "hf://anna/digits@v2: there is no such revision"),
        ("hf://anna/empty", "hf://anna/empty: holds no generator.safetensors"),
        ("hf://digits", "expected hf://user/model or hf://user/model@revision, got hf://digits"),
    ],
)
def test_what_is_not_there(hub, capfd, address, message):
    hub.models |= {"anna/digits": [{}], "anna/empty": [{"README.md": b""}]}
    assert forked(lambda: main(["sample", address])) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


def test_without_a_token_or_a_name(run, hub, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert push(run) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: anna/digits: ")
    assert "401" in line
    assert forked(lambda: main(["push", str(run), "digits"])) == 1
    assert capfd.readouterr().err == "error: expected user/model, got 'digits'\n"


def test_a_hub_that_does_not_answer(run, hub, monkeypatch, capfd):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert push(run) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: anna/digits: the hub cannot be used: ")


def test_an_address_is_checked_before_anything_is_imported():
    with pytest.raises(ValueError, match="expected hf://"):
        download("hf://a/b/c")
