"""The command line: LightningCLI, with what this framework adds to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from gan.callbacks import AtomicCheckpointIO, Evaluation, Interruption, Pictures, Progress, SampleWriter
from gan.cli.machine import chosen_accelerator, fastest_precision
from gan.cli.parser import Parser
from gan.data import ImageData
from gan.module import GAN
from gan.randomness import MAX_SEED
from gan.runs.checkpoints import find_checkpoint, newest_checkpoint
from gan.runs.description import changes_since
from gan.runs.files import write_atomically
from gan.runs.folder import CONFIG, checkpoint_path, experiment_folder, newest_run
from gan.runs.logger import RunLogger, run_folder
from gan.training.strategy import use_as_default

SUBCOMMANDS = "fit", "validate", "test", "predict"
# Lightning would end well without having done anything if these were 0; `gan.module` sees to those of fit
LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
TRAINER_DEFAULTS = {
    "default_root_dir": "runs",
    "max_epochs": -1,  # the data have no end: max_steps, in generator steps, says when the training is over
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}


class SaveConfig(SaveConfigCallback):
    """Saves the resolved configuration of a training in the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do not save yet: the checkpoint may not fit."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when a training begins. The file of the run that goes on is replaced by a whole one, or stays."""
        if (run := run_folder(trainer)) is not None and trainer.is_global_zero:
            self.config["ckpt_path"] = None  # what it started from is no part of what it is
            text = self.parser.dump(self.config, skip_none=False)
            write_atomically(run / CONFIG, lambda file: file.write(text.encode()))


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
        parser.add_class_arguments(Pictures, "pictures", instantiate=True, help="What `predict` draws.")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        for network in "generator", "discriminator":
            for fact in "image_size", "channels", "num_classes":
                target = f"model.{network}.init_args.{fact}"
                parser.link_arguments(f"data.{fact}", target, apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Do not let a checkpoint file override the command line, as LightningCLI would."""

    def before_instantiate_classes(self) -> None:
        """Find out what is left open: accelerator and precision, and what `--ckpt_path last` means."""
        config = self.config[self.subcommand]
        self._check(config)
        config.trainer.accelerator = chosen_accelerator(config.trainer.accelerator)
        if config.trainer.precision is None and "Precision" not in str(config.trainer.plugins):
            config.trainer.precision = fastest_precision(config.trainer.accelerator)
        if config.ckpt_path is not None:
            config.ckpt_path = str(self._find_checkpoint(config))
            if self.subcommand == "fit":
                self._say_what_changed(Path(config.ckpt_path), config)

    def _check(self, config: Any) -> None:
        """Refuse what would do nothing, or something else than it says."""
        if not config.experiment:
            raise ValueError("experiment must be a name, got ''")
        if config.trainer.default_root_dir is None:
            raise ValueError("trainer.default_root_dir must be a folder, got null")
        if (limit := LIMITS.get(str(self.subcommand))) and config.trainer[limit] == 0:
            raise ValueError(f"trainer.{limit} must not be 0: {self.subcommand} would do nothing")
        if config.metrics is None and self.subcommand in ("validate", "test"):
            raise ValueError(
                f"{self.subcommand} needs metrics, got none: --config configs/metrics/inception.yaml has the papers'"
            )
        if self.subcommand == "predict" and _folder(config.samples.path) == _folder(config.pictures.path):
            given = config.samples.path or "null"
            raise ValueError(f"samples.path and pictures.path must be two folders, got {given} for both")
        if config.ckpt_path is None and self.subcommand != "fit" and not self._scores_images(config):
            raise ValueError(f"{self.subcommand} needs --ckpt_path: a checkpoint file, a run's folder, or `last`")

    def _find_checkpoint(self, config: Any) -> Path:
        """Return the checkpoint that `--ckpt_path` means: a file, the newest of a run's folder, or of the last run."""
        if config.ckpt_path != "last":
            given = Path(config.ckpt_path).expanduser()
            path = find_checkpoint(given)
            if path != given:
                _say_once(f"the newest checkpoint of {given} is {path}")
            return path
        run = newest_run(experiment_folder(config.trainer.default_root_dir, config.experiment))
        self._continue_run, self._from_step = run, newest_checkpoint(run)
        path = checkpoint_path(run, self._from_step)
        _say_once(f"the last checkpoint is {path}")
        return path

    def _say_what_changed(self, checkpoint: Path, config: Any) -> None:
        """Compare the configuration with that of the run that a checkpoint is from."""
        text = self._parser(self.subcommand).dump(config, skip_none=False)
        if changed := changes_since(checkpoint, text):
            rank_zero_warn(f"the configuration is not the checkpoint's: {'; '.join(changed)}")

    def instantiate_classes(self) -> None:
        """Build everything; what fails here is what the configuration asks for, whatever kind of error it becomes."""
        try:
            super().instantiate_classes()
        except (ValueError, OSError):
            raise
        except Exception as error:
            raise ValueError(f"this configuration cannot be built: {type(error).__name__}: {error}") from error

    def _scores_images(self, config: Any) -> bool:
        """Whether images of a folder or zip are to be scored, which needs no checkpoint."""
        return self.subcommand in ("validate", "test") and bool(config.get("metrics.init_args.images"))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with the run's logger and the callbacks that every run has."""
        config = self.config_init[self.subcommand]
        settings = config.trainer
        if settings.check_val_every_n_epoch == 0:  # which Lightning divides by
            raise ValueError("trainer.check_val_every_n_epoch must be at least 1, or null, got 0")
        training = self.subcommand == "fit" and not settings.fast_dev_run
        self._run_logger = self._logger(config) if training and settings.logger is not False else None
        settings.logger = [*_listed(self._run_logger), *_listed(settings.logger)]
        settings.callbacks = _listed(settings.callbacks)
        if settings.enable_checkpointing is False:
            settings.callbacks = [each for each in settings.callbacks if not isinstance(each, LightningCheckpoint)]
        settings.enable_checkpointing = any(isinstance(each, LightningCheckpoint) for each in settings.callbacks)
        settings.plugins = [*_listed(settings.plugins), AtomicCheckpointIO()]
        slurm = next((each for each in settings.plugins if isinstance(each, SLURMEnvironment)), None)
        self._interruption = Interruption(slurm)
        callbacks = [*self._callbacks(config), self._interruption]  # after the evaluation, which gives way to a signal
        with self._discarding_what_never_began():
            trainer = self._instantiate_trainer({**settings, **kwargs}, callbacks)
        made: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        made.sort(key=lambda each: not isinstance(each, SaveConfig))  # it comes before what takes long
        return trainer

    def _callbacks(self, config: Any) -> list[Callback]:
        """Return the callbacks that show, score and draw, as the subcommand and the configuration ask for."""
        callbacks: list[Callback] = []
        others = any(isinstance(each, ProgressBar) for each in config.trainer.callbacks)
        if config.trainer.enable_progress_bar is not False and not others:
            callbacks.append(Progress())
        if config.metrics is not None:
            callbacks.append(config.metrics)
        if self.subcommand == "predict":
            callbacks += [config.samples, config.pictures]
        return callbacks

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it."""
        with self._discarding_what_never_began():
            self._interruption.take_over(self.trainer)
            super()._run_subcommand(subcommand)
            self._interruption.leave()

    @contextmanager
    def _discarding_what_never_began(self) -> Iterator[None]:
        """Let a training that fails before its first step leave nothing behind."""
        try:
            yield
        except BaseException:
            if self._run_logger is not None:
                self._run_logger.discard_unused()
            raise

    def _logger(self, config: Any) -> RunLogger:
        root = config.trainer.default_root_dir
        if self._continue_run is None:
            return RunLogger(root, config.experiment)
        return RunLogger(root, config.experiment, self._continue_run, self._from_step)


def _listed(value: Any) -> list[Any]:
    """Return what a setting of the trainer holds: one object, several, or (None, or whether to have any) none."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _folder(path: str | None) -> Path | None:
    return None if path is None else Path(path).expanduser().resolve()


@rank_zero_only
def _say_once(text: str) -> None:
    print(text)


def _seed(seed: bool | int) -> int:
    if isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed_everything must be a number between 0 and {MAX_SEED}, got {seed}")
    return seed
