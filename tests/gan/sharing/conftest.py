"""A trained run for the tests of this folder."""

import pytest

from gan.cli.main import main


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Train two steps on the digits with classes, an average and scores; return the run's folder."""
    root = tmp_path_factory.mktemp("trained")
    small = ["--model.generator.width=4", "--model.discriminator.width=4", "--data.batch_size=8", "--threads=1"]
    scores = ["--metrics.num_samples=100", "--metrics.batch_size=16"]
    machine = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--seed_everything=7"]
    place = [f"--trainer.default_root_dir={root / 'runs'}", "--trainer.max_steps=2"]
    classes = ["--model.generator_norms=[ConditionalBatch]", "--model.discriminator.conditional=true"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVNORM_GAN_CACHE", str(root / "cache"))
        main(["fit", "--config", "quickstart", *small, *scores, *machine, *place, *classes])
    return root / "runs" / "quickstart" / "version_0"
