"""The command line: LightningCLI, with what this framework adds to it."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from gan.callbacks import AtomicCheckpointIO, Checkpoint, Progress, SampleWriter
from gan.data import ImageData
from gan.errors import one_line
from gan.metrics import Evaluation
from gan.module import GAN
from gan.randomness import MAX_SEED
from gan.runs import RunLogger, checkpoints, newest_run
from gan.strategy import use_as_default

SUBCOMMANDS = "fit", "validate", "test", "predict"
TRAINER_DEFAULTS = {
    "default_root_dir": "runs",
    "max_epochs": -1,  # the data have no end: max_steps, in generator steps, says when the training is over
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}


class Parser(LightningArgumentParser):
    """Takes options by their whole names only, and says what is wrong in one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2."""
        print(f"error: {one_line(message)}", file=sys.stderr)
        raise SystemExit(2)


class SaveConfig(SaveConfigCallback):
    """Saves the resolved configuration of a training in the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save when a training begins."""
        if stage == "fit" and trainer.logger is not None:
            super().setup(trainer, pl_module, stage)


class CLI(LightningCLI):
    """`fit | validate | test | predict`, with `--experiment` and `--metrics` besides Lightning's arguments."""

    def __init__(self) -> None:
        use_as_default()
        self._continue_run: Path | None = None
        super().__init__(
            GAN,
            ImageData,
            subclass_mode_data=True,
            parser_class=Parser,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own arguments, and say what follows from what."""
        parser.add_argument("--experiment", type=str, default="gan", help="Runs lie in <root>/<experiment>/version_k.")
        parser.add_argument("--metrics", type=Evaluation | None, default=None, help="How samples are evaluated.")
        parser.add_class_arguments(SampleWriter, "samples", instantiate=True, help="What `predict` writes.")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        for network in "generator", "discriminator":
            for fact in "image_size", "channels", "num_classes":
                target = f"model.{network}.init_args.{fact}"
                parser.link_arguments(f"data.{fact}", target, apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Do not let a checkpoint file override the command line, as LightningCLI would."""

    def before_instantiate_classes(self) -> None:
        """Find out what `--ckpt_path last` means."""
        config = self.config[self.subcommand]
        if config.ckpt_path is None and self.subcommand != "fit":
            raise ValueError(f"{self.subcommand} needs --ckpt_path: a checkpoint file, or `last`")
        if config.ckpt_path == "last":
            run = newest_run(Path(config.trainer.default_root_dir, config.experiment))
            found = checkpoints(run)
            self._continue_run, self._from_step = run, max(found)
            config.ckpt_path = str(found[max(found)])
        elif config.ckpt_path is not None and not Path(config.ckpt_path).is_file():
            raise FileNotFoundError(f"--ckpt_path: there is no file {config.ckpt_path}")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with the run's logger and the callbacks that every run has."""
        config = self.config_init[self.subcommand]
        settings = config.trainer
        training = self.subcommand == "fit" and not settings.fast_dev_run
        if settings.logger in (None, True):
            settings.logger = self._logger(config) if training else False
        callbacks: list[Callback] = [] if settings.enable_progress_bar is False else [Progress()]
        if config.metrics is not None:
            callbacks.append(config.metrics)
        if self.subcommand == "predict":
            callbacks.append(config.samples)
        settings.enable_checkpointing = any(isinstance(callback, Checkpoint) for callback in settings.callbacks or [])
        plugins = settings.plugins or []
        settings.plugins = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        return self._instantiate_trainer({**settings, **kwargs}, callbacks)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; a training that fails before its first step leaves nothing behind."""
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            if isinstance(self.trainer.logger, RunLogger):
                self.trainer.logger.discard_unused()
            raise

    def _logger(self, config: Any) -> RunLogger:
        root = config.trainer.default_root_dir
        if self._continue_run is None:
            return RunLogger(root, config.experiment)
        return RunLogger(root, config.experiment, self._continue_run, self._from_step)


def main() -> None:
    """Run the command line; a user's mistake ends it with one line and a code that is not zero."""
    _default_to_fit()
    _silence_lightning()
    try:
        CLI()
    except (ValueError, OSError) as error:
        if os.environ.get("GAN_TRACEBACK"):
            raise
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None


def _default_to_fit() -> None:
    """Let `train.py --config x.yaml` mean `train.py fit --config x.yaml`."""
    if len(sys.argv) > 1 and sys.argv[1] not in (*SUBCOMMANDS, "-h", "--help"):
        sys.argv.insert(1, "fit")


def _silence_lightning() -> None:
    """Show what is wrong, not what is as it should be."""
    for name in "pytorch_lightning", "lightning_fabric":
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode")  # the averaged generator is
    warnings.filterwarnings("ignore", ".*LeafSpec")  # Lightning 2.6.6 on torch 2.14
    warnings.filterwarnings("ignore", ".*predict returned None")  # the samples are on the disk by then


def _seed(seed: bool | int) -> int:
    if isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed_everything must be a number between 0 and {MAX_SEED}, got {seed}")
    return seed
