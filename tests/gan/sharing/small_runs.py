"""A trained run for the tests of this folder."""

from gan.cli.main import main


def train_small_run(root, *more):
    """Train two steps on the digits with classes, an average and scores; return the run's folder."""
    small = ["--model.generator.width=4", "--model.discriminator.width=4", "--data.batch_size=8", "--threads=1"]
    scores = ["--metrics.num_samples=100", "--metrics.batch_size=16"]
    machine = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--seed_everything=7"]
    place = [f"--trainer.default_root_dir={root / 'runs'}", "--trainer.max_steps=2"]
    classes = ["--model.generator_norms=[ConditionalBatch]", "--model.discriminator.conditional=true"]
    main(["fit", "--config", "quickstart", *small, *scores, *machine, *place, *classes, *more])
    return root / "runs" / "quickstart" / "version_0"
