import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Trainer
from small_trainings import small_gan, small_networks

from gan.callbacks import SampleWriter
from gan.latents import sample_inputs


def test_a_sample_is_made_from_what_its_place_in_a_block_says():
    generator, _ = small_networks("dcgan")
    z, y = sample_inputs(generator, 70, seed=7, start=60)  # the last 4 of block 0, block 1, the first 2 of block 2
    noise = [np.random.default_rng((7, 5, block)).standard_normal((64, 8), dtype=np.float32) for block in range(3)]
    labels = [np.random.default_rng((7, 6, block)).integers(0, 10, 64) for block in range(3)]
    assert np.array_equal(z, np.concatenate(noise)[60:130])
    assert np.array_equal(y, np.concatenate(labels)[60:130])


def test_an_image_that_is_written_does_not_depend_on_how_many_are(tmp_path, monkeypatch):
    """Kernels may round differently in a batch of another size. Here a pixel is the size of the batch."""
    module = small_gan()
    monkeypatch.setattr(module, "generate", lambda z, y: torch.full((len(z), 1, 32, 32), len(z) / 127.5 - 1))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    for count in (3, 70):
        SampleWriter(str(tmp_path / str(count)), num_samples=count).on_predict_epoch_end(trainer, module)
        written = [Image.open(path).getpixel((0, 0)) for path in (tmp_path / str(count)).iterdir()]
        assert written == [64] * count
