"""The base of commands that train: their subcommands and options, and how a run ends."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_warn

from gan.cli.building import BuildingCLI, say_once
from gan.cli.machine import (
    choose_threads,
    chosen_accelerator,
    fastest_precision,
    local_processes,
)
from gan.cli.parser import Parser
from gan.cli.save_config import SaveConfig
from gan.cli.start import Start, find_start
from gan.data import ImageData
from gan.randomness import MAX_SEED
from gan.runs.description import changes_since
from gan.runs.logger import run_folder
from gan.runs.outcome import DIVERGED, FINISHED, STOPPED, Outcome, write_outcome

# Lightning would end without having done anything if these were 0; `gan.training.limits` checks those of fit
LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches"}
TRAINER_DEFAULTS = {
    "default_root_dir": "runs",
    "max_epochs": -1,  # the data have no end: max_steps says when the training is over
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}


class TrainingCLI(BuildingCLI, ABC):
    """`fit`, and the subcommands that score, with options of this framework beside Lightning's.

    Args:
        arguments: What follows the command's name.
        run: Whether to run the subcommand. False: `parser` has the options of `fit`, and nothing else happens.

    Attributes:
        parser_type: The parser.
        scored_by: The subcommands that score.
        experiment: The default name of an experiment.
    """

    parser_type: ClassVar[type[Parser]] = Parser
    scored_by: ClassVar[tuple[str, ...]] = ("validate", "test")
    experiment: ClassVar[str]

    def __init__(self, arguments: Sequence[str] = (), run: bool = True) -> None:
        self._arguments = list(arguments)
        self._start = Start()
        self._only_parses = not run
        super().__init__(
            self.module_class,
            ImageData,
            subclass_mode_data=True,
            parser_class=self.parser_type,
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            run=run,
        )

    # What there is to choose

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """Return `fit` and the subcommands that score, each with what is no option."""
        kept = "fit", *cls.scored_by
        return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name in kept}

    @abstractmethod
    def add_scoring(self, parser: LightningArgumentParser) -> None:
        """Add the option `scoring`, and say which values follow from the data."""

    @abstractmethod
    def check_scoring(self, config: Any, needs_checkpoint: str | None) -> None:
        """Refuse what a subcommand that scores cannot do.

        Args:
            config: The configuration.
            needs_checkpoint: What to say if it needs a checkpoint; None: there is one.
        """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own options, and say which values follow from others."""
        text = "Runs lie in <root>/<experiment>/version_k."
        parser.add_argument("--experiment", type=str, default=self.experiment, help=text)
        parser.add_argument("--threads", type=int | None, default=None, help="Threads of each process.")
        parser.add_argument("--resume", type=str | None, default=None, help="Go on with a run, in its folder.")
        parser.add_argument("--init_from", type=str | None, default=None, help="Begin with a checkpoint's weights.")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        self.add_scoring(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and hide the checkpoint from LightningCLI, which would read it before it has been checked."""
        if self._only_parses:
            self.config = Namespace(seed_everything=False)
            return
        self.config = parser.parse_args(self._arguments)
        config = self.config[self.config.subcommand]
        self._ckpt_path, config.ckpt_path = config.ckpt_path, None

    # What the configuration leaves open

    def before_instantiate_classes(self) -> None:
        """Choose accelerator, precision and threads, and find what the training starts from."""
        if self._only_parses:
            return
        config = self.config[self.subcommand]
        self._check(config)
        config.trainer.accelerator = chosen_accelerator(config.trainer.accelerator)
        if config.trainer.precision is None and "Precision" not in str(config.trainer.plugins):
            config.trainer.precision = fastest_precision(config.trainer.accelerator)
        settings = config.trainer
        processes = local_processes(settings.strategy, settings.accelerator, settings.devices, settings.num_nodes)
        config.threads = choose_threads(config.threads, _is_given("--threads", self._arguments), processes)
        root = config.trainer.default_root_dir
        self._start = find_start(config.resume, self._ckpt_path, config.init_from, root, config.experiment)
        config.resume = config.init_from = None  # what a run started from is not part of its configuration
        if self._start.message:
            say_once(self._start.message)
        if self._start.checkpoint is not None and self.subcommand == "fit":
            self._say_what_changed(self._start.checkpoint)

    def _check(self, config: Any) -> None:
        """Refuse what would do nothing, or something else than it says."""
        if not config.experiment:
            raise ValueError("experiment must be a name, got ''")
        if config.trainer.default_root_dir is None:
            raise ValueError("trainer.default_root_dir must be a folder, got null")
        if self.subcommand == "fit":
            return
        if config.resume is not None or config.init_from is not None:
            raise ValueError(f"--resume and --init_from belong to fit; {self.subcommand} takes --ckpt_path")
        if config.trainer[limit := LIMITS[str(self.subcommand)]] == 0:
            raise ValueError(f"trainer.{limit} must not be 0: {self.subcommand} would do nothing")
        needs = f"{self.subcommand} needs --ckpt_path: a checkpoint file, a run's folder, or `last`"
        self.check_scoring(config, None if self._ckpt_path is not None else needs)

    def _say_what_changed(self, checkpoint: Path) -> None:
        """Compare the configuration with that of the run that a checkpoint is from."""
        whole = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        if changed := changes_since(checkpoint, yaml.safe_dump(whole[self.subcommand])):
            rank_zero_warn(f"the configuration is not the checkpoint's: {'; '.join(changed)}")

    # What runs

    def fit(self, **arguments: Any) -> None:
        """Train, and note in the run's folder how it ended."""
        try:
            self._run(self.trainer.fit, arguments)
        except FloatingPointError as error:
            self._note(Outcome(DIVERGED, self.trainer.global_step, str(error)))
            raise
        if self.model.health.should_stop:  # in this process no signal came, but in another one
            return
        over = self.trainer.global_step >= self.trainer.max_steps
        self._note(Outcome(FINISHED if over else STOPPED, self.trainer.global_step))

    def validate(self, **arguments: Any) -> None:
        """Score with the validation split."""
        self._run(self.trainer.validate, arguments)

    def test(self, **arguments: Any) -> None:
        """Score with the test split."""
        self._run(self.trainer.test, arguments)

    def _run(self, subcommand: Callable[..., object], arguments: dict[str, Any]) -> None:
        checkpoint = self._start.checkpoint
        with self.discarding_what_never_began():
            self._interruption.take_over(self.trainer)
            subcommand(**{**arguments, "ckpt_path": None if checkpoint is None else str(checkpoint)})
            self._interruption.leave()

    def _note(self, outcome: Outcome) -> None:
        run = run_folder(self.trainer)
        if run is not None and run.is_dir() and self.trainer.is_global_zero:
            write_outcome(run, outcome)


def _is_given(option: str, arguments: Sequence[str]) -> bool:
    return any(argument == option or argument.startswith(f"{option}=") for argument in arguments)


def _seed(seed: bool | int) -> int:
    if isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed_everything must be a number between 0 and {MAX_SEED}, got {seed}")
    return seed
