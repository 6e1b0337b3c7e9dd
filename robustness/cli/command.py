"""The subcommands `fit` and `test` of `robustness`."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.cli import LightningArgumentParser

from gan.callbacks import Announcement
from gan.cli.entry import run
from gan.cli.errors import kinds_of
from gan.cli.parser import Parser
from gan.cli.training import TrainingCLI
from gan.data import ImageData
from robustness.classifier import Classifier
from robustness.evaluation import Evaluation
from robustness.imagenet import ImageNet  # noqa: F401 (for --data ImageNet)
from robustness.networks import ResNet


def main(arguments: Sequence[str]) -> None:
    """Run a subcommand, see `gan.cli.entry.run`."""
    run(CLI, arguments)


class ClassifierParser(Parser):
    """Knows which classes the arguments of classifiers and their evaluations take."""

    kinds = MappingProxyType(
        {
            **kinds_of("model", Classifier.__init__),
            **kinds_of("evaluation", Evaluation.__init__),
            "model.network": ResNet,
            "data": ImageData,
        }
    )


class CLI(TrainingCLI):
    """`fit | test` of classifiers."""

    module_class = Classifier
    parser_type = ClassifierParser
    scoring = "evaluation"
    scored_by = ("test",)
    experiment = "classifier"
    uses = ("test",)

    def add_scoring(self, parser: LightningArgumentParser) -> None:
        """Add `--evaluation`, and give the network the channels and the classes of the data."""
        parser.add_argument("--evaluation", type=Evaluation | None, default=None, help="How classifiers are tested.")
        for fact in "channels", "num_classes":
            parser.link_arguments(f"data.{fact}", f"model.network.init_args.{fact}", apply_on="instantiate")

    def check_scoring(self, config: Any, needs_checkpoint: str | None) -> None:
        """Refuse to test with no evaluation, or no checkpoint."""
        if config.evaluation is None:
            raise ValueError(f"{self.subcommand} needs evaluation, got none: --evaluation Evaluation has the defaults")
        if needs_checkpoint is not None:
            raise ValueError(needs_checkpoint)

    def _callbacks(self, config: Any, configured: list[Callback]) -> list[Callback]:
        """Let the table come before what is said of the run."""
        return sorted(super()._callbacks(config, configured), key=lambda each: isinstance(each, Announcement))
