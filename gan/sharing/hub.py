"""Shares a trained run on the Hugging Face Hub."""

import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from gan.images import encoded, tile
from gan.latents import sample_inputs
from gan.networks import Generator
from gan.runs.folder import CONFIG
from gan.sampling.walks import images_of
from gan.sharing.card import model_card, without_paths
from gan.sharing.download import MODEL, check_name, hub, hub_errors
from gan.sharing.export import Export, read_trained, write_safetensors
from gan.trained import TrainedGenerator

ROWS, COLUMNS = 6, 10  # of the picture; a class has a column


def push(run_or_checkpoint: str | Path, name: str, *, private: bool = False, license: str = "") -> str:
    """Share a run as one commit to a model of the hub, which is made if there is none; return its address.

    Nothing that is uploaded is a pickle: weights are safetensors.

    Args:
        run_or_checkpoint: The folder of a run, whose newest checkpoint is taken, or a checkpoint file.
        name: user/model.
        private: Whether a new model is visible to its owner alone.
        license: The license's identifier on the hub, for the model card; empty: none is named.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ImportError: if huggingface_hub or safetensors is not installed.
        OSError: if the hub cannot be reached or refuses.
        ValueError: if the name is none or the checkpoint is damaged.
    """
    check_name(name)
    client = hub()
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), name, run_or_checkpoint, license)
        with hub_errors(name):
            url = client.create_repo(name, private=private or None, exist_ok=True)
            client.upload_folder(folder_path=folder, repo_id=name, commit_message="Share a trained generator")
    return str(url)


def write_model(folder: Path, name: str, run_or_checkpoint: str | Path, license: str = "") -> None:
    """Write the files of a model of the hub into a folder, which is made if there is none; see `push` for arguments.

    Raises:
        FileExistsError: if the folder holds anything.
    """
    check_name(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already: a new or empty folder is needed")
    generator, discriminator = (read_trained(run_or_checkpoint, part) for part in ("generator", "discriminator"))
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / MODEL, generator)
    write_safetensors(folder / "discriminator.safetensors", discriminator)
    (folder / "samples.png").write_bytes(encoded(_picture(generator)))
    config = _config(generator.checkpoint.parent.parent / CONFIG)
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    card = model_card(name, generator.facts, discriminator.facts, config, license)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _picture(export: Export) -> Tensor:
    """Return the first samples, a class a column if there are classes."""
    assert isinstance(export.network, Generator)
    trained = TrainedGenerator(export.network, export.facts)
    z, _ = sample_inputs(trained.generator, ROWS * COLUMNS, seed=trained.seed)
    labels = torch.arange(COLUMNS).repeat(ROWS) % max(1, trained.generator.num_classes)
    return tile(images_of(trained, z, labels), COLUMNS)


def _config(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return without_paths(config) if isinstance(config, dict) else None
