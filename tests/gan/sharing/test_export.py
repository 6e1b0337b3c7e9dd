"""`gan export`, and the files that it writes."""

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_trainings import forked, limit_files

import gan
from gan.cli.main import main
from gan.networks import Discriminator, load, read_facts
from gan.networks.exported import KEY

ROOT = Path(__file__).parents[3]
PLAIN_SCRIPT = """
import sys
for unwanted in "pytorch_lightning", "lightning_fabric", "torchvision", "yaml", "PIL":
    sys.modules[unwanted] = None  # importing it is an error
import torch
import gan
import gan.networks

generator = gan.networks.load(sys.argv[1])
with torch.no_grad():
    images = generator(torch.randn(2, generator.latent_dim), torch.tensor([3, 7]))
assert images.shape == (2, 1, 32, 32)
torch.save(gan.load(sys.argv[1]).sample(70), "samples.pt")
print("safetensors" in sys.modules)
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(run, *options):
    main(["export", str(run), *options])


def changed(source, target, change=lambda facts: None, tensors=None):
    """Write a file like another one, with other facts or tensors."""
    with safe_open(source, "pt") as opened:
        metadata = opened.metadata()
    facts = json.loads(metadata[KEY])
    change(facts)
    save_file(load_file(source) if tensors is None else tensors, target, {**metadata, KEY: json.dumps(facts)})
    return target


def test_a_file_says_what_its_network_is(run, desk, capsys):
    export(run)
    facts = read_facts("generator.safetensors")
    assert facts["network"]["class_path"] == "gan.networks.DCGANGenerator"
    assert [norm["class_path"] for norm in facts["norms"]] == ["gan.norms.ConditionalBatch"]
    assert facts["classes"] == list("0123456789")
    assert (facts["image_size"], facts["channels"], facts["image_range"]) == ([32, 32], 1, [-1, 1])
    assert (facts["weights"], facts["step"], facts["seed"], facts["conditional"]) == ("ema", 2, 7, True)
    (scores,) = facts["scores"]
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if "protocol" in line][-1]
    assert last["step"] == 2
    assert scores["protocol"] == last["protocol"]
    assert scores["protocol"]["source"] == "ema weights"
    assert scores["values"] == {key: last[key] for key in last if "digits" in key}
    assert "generator, ema weights, step 2, fd_digits" in capsys.readouterr().out


@pytest.mark.slow
def test_every_format_says_the_same(run, desk):
    export(run)
    export(run, "--to", "torch")
    export(run, "--out", "new/x.onnx")
    session = onnxruntime.InferenceSession("new/x.onnx", providers=["CPUExecutionProvider"])
    facts = read_facts("generator.safetensors")
    assert read_facts("generator.pt") == facts
    assert json.loads(session.get_modelmeta().custom_metadata_map[KEY]) == facts
    assert [(each.name, each.type) for each in session.get_inputs()] == [
        ("z", "tensor(float)"),
        ("labels", "tensor(int64)"),
    ]
    assert sorted(path.name for path in desk.rglob("*") if path.is_file() and "cache" not in path.parts) == [
        "generator.pt",
        "generator.safetensors",
        "x.onnx",
    ]


def test_samples_are_those_of_the_run(run, desk):
    export(run)
    trained, exported = gan.load(run), gan.load("generator.safetensors")
    for given in {"n": 70}, {"labels": ["3", "7"], "seed": 5, "truncation": 0.7}:
        assert torch.equal(trained.sample(**given), exported.sample(**given))
    with pytest.raises(ValueError, match="there is no class 'cat'; known are 0, 1"):
        exported.sample(labels="cat")
    assert exported.weights_name == "ema"


def test_gan_sample_takes_an_exported_file(run, desk, capsys):
    export(run)
    main(["sample", "generator.safetensors", "--grid", "2x5", "--out", "exported.png"])
    assert "exported.png (generator.safetensors, ema weights, step 2)" in capsys.readouterr().out
    main(["sample", str(run), "--grid", "2x5", "--out", "trained.png"])
    assert Path("exported.png").read_bytes() == Path("trained.png").read_bytes()


def test_raw_weights_where_there_is_no_average(run, desk):
    checkpoint = torch.load(run / "checkpoints" / "step_00000002.ckpt", weights_only=True)
    checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if "generator_ema" not in k}
    torch.save(checkpoint, "raw.ckpt")
    export("raw.ckpt")
    facts = read_facts("generator.safetensors")
    assert facts["weights"] == "raw"
    assert facts["scores"] == []  # it lies in no run


def test_the_discriminator(run, desk):
    export(run, "--network", "discriminator")
    network = load("discriminator.safetensors")
    assert isinstance(network, Discriminator)
    assert read_facts("discriminator.safetensors")["norms"] == gan.load(run).description["discriminator_norms"]
    with pytest.raises(ValueError, match="holds a discriminator, which makes no samples"):
        gan.load("discriminator.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_reading_takes_no_lightning(run, desk, kind):
    export(run, "--to", kind)
    file = {"safetensors": "generator.safetensors", "torch": "generator.pt"}[kind]
    command = [sys.executable, "-c", PLAIN_SCRIPT, file]
    found = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert found.stdout == f"{kind == 'safetensors'}\n"
    assert torch.equal(torch.load("samples.pt"), gan.load(run).sample(70))


# What is refused


def test_a_file_is_replaced_only_if_asked(run, desk):
    Path("generator.pt").write_text("mine")
    with pytest.raises(SystemExit) as refused:
        export(run, "--to", "torch")
    assert refused.value.code == 1
    assert Path("generator.pt").read_text() == "mine"
    export(run, "--to", "torch", "--overwrite")
    assert read_facts("generator.pt")["step"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x.png"], "--out must end in .safetensors, .pt, .onnx, got x.png"),
        (["--to", "onnx", "--out", "x.pt"], "--out must end in .onnx with --to onnx, got x.pt"),
        (["--out", "folder.pt"], "--out folder.pt is a folder"),
        (["--network", "both"], "invalid choice: 'both'"),
        (["--to", "pickle"], "invalid choice: 'pickle'"),
    ],
)
def test_mistakes_are_one_line(run, desk, capsys, options, message):
    Path("folder.pt").mkdir()
    with pytest.raises(SystemExit):
        export(run, *options)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_what_is_not_exported_says_what_reads_it(run, desk):
    with pytest.raises(
        ValueError, match=r"\.ckpt is not an exported network: it is a checkpoint of a run, which gan.load"
    ):
        load(next(Path(run, "checkpoints").glob("step_*.ckpt")))
    with pytest.raises(
        ValueError, match=r"is a folder and not an exported network; gan.load reads the folder of a run"
    ):
        load(run)


def test_the_run_is_looked_at_before_the_file(run, desk, capsys):
    Path("generator.safetensors").touch()
    with pytest.raises(SystemExit):
        export(run.parent)
    assert f"with checkpoints; did you mean {run}?" in capsys.readouterr().err


def test_a_path_that_is_no_run(desk, capsys):
    with pytest.raises(SystemExit):
        export("nowhere")
    assert "error: there is no run or checkpoint nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_a_full_disk_leaves_nothing(run, desk, kind):
    def on_a_full_disk():
        limit_files(1000)
        export(run, "--to", kind)

    assert forked(on_a_full_disk) == 1
    assert [path for path in desk.iterdir() if path.name != "cache"] == []


# What a stranger's file cannot do


def test_other_code_runs_only_if_the_file_is_trusted(run, desk, monkeypatch):
    export(run)
    Path("theirs.py").write_text(
        "from gan.networks import DCGANGenerator\nopen('it-ran', 'w')\nclass Theirs(DCGANGenerator):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(desk))
    file = changed("generator.safetensors", "x.safetensors", lambda f: f["network"].update(class_path="theirs.Theirs"))
    for read in gan.load, load:
        with pytest.raises(ValueError, match=r"x.safetensors needs theirs.Theirs, from outside this package"):
            read(file)
    assert not Path("it-ran").exists()
    assert torch.equal(gan.load(file, trust=True).sample(2), gan.load(run).sample(2))
    assert Path("it-ran").exists()


@pytest.mark.parametrize("path", ["gan.module.GAN", "gan.networks.DCGANDiscriminator", "gan.norms.Nothing", "gan..x"])
def test_a_class_must_be_what_is_expected_there(run, desk, path):
    export(run)
    file = changed("generator.safetensors", "x.safetensors", lambda facts: facts["network"].update(class_path=path))
    with pytest.raises(ValueError, match=path):
        load(file)


def test_weights_must_be_exactly_those_of_the_network(run, desk):
    export(run)
    tensors = load_file("generator.safetensors")
    name = next(iter(tensors))
    rest = {key: value for key, value in tensors.items() if key != name}
    wrong = {
        f"it lacks {name}$": rest,
        "it has besides more$": {**tensors, "more": torch.zeros(1)},
        rf"{name} has the shape \(1,\), not": {**tensors, name: torch.zeros(1)},
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message):
            load(changed("generator.safetensors", "x.safetensors", tensors=given))


def test_what_is_no_exported_file(run, desk):
    export(run)
    later = changed("generator.safetensors", "later.safetensors", lambda facts: facts.update(format=2))
    with pytest.raises(ValueError, match="has format 2, this version reads 1: update convnorm-gan"):
        load(later)
    save_file({"x": torch.zeros(1)}, "other.safetensors")
    Path("empty.pt").touch()
    Path("cut.safetensors").write_bytes(Path("generator.safetensors").read_bytes()[:5000])
    torch.save({"weights": {}}, "other.pt")
    for file in "other.safetensors", "empty.pt", "cut.safetensors", "other.pt", run / "checkpoints/step_00000002.ckpt":
        with pytest.raises(ValueError, match="is not an exported network"):
            load(file)
    with pytest.raises(FileNotFoundError):
        load("nowhere.pt")
