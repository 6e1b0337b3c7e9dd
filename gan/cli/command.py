"""The subcommands `fit`, `validate` and `test` of `gan`."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from pytorch_lightning.cli import LightningArgumentParser

from gan.callbacks import Evaluation
from gan.cli.entry import run
from gan.cli.errors import kinds_of
from gan.cli.parser import Parser
from gan.cli.training import TrainingCLI
from gan.data import ImageData
from gan.metrics import FeatureNetwork
from gan.module import GAN


def main(arguments: Sequence[str]) -> None:
    """Run a subcommand, see `gan.cli.entry.run`."""
    run(CLI, arguments)


class GANParser(Parser):
    """Knows which classes the arguments of GANs and their evaluations take."""

    kinds = MappingProxyType(
        {
            **kinds_of("model", GAN.__init__),
            **kinds_of("metrics", Evaluation.__init__),
            "metrics.features": FeatureNetwork,
            "data": ImageData,
        }
    )


class CLI(TrainingCLI):
    """`fit | validate | test` of GANs."""

    module_class = GAN
    parser_type = GANParser
    scoring = "metrics"
    experiment = "gan"
    uses = ("sample",)

    def add_scoring(self, parser: LightningArgumentParser) -> None:
        """Add `--metrics`, and give both networks the size, the channels and the classes of the data."""
        parser.add_argument("--metrics", type=Evaluation | None, default=None, help="How samples are evaluated.")
        for network in "generator", "discriminator":
            for fact in "image_size", "channels", "num_classes":
                target = f"model.{network}.init_args.{fact}"
                parser.link_arguments(f"data.{fact}", target, apply_on="instantiate")

    def check_scoring(self, config: Any, needs_checkpoint: str | None) -> None:
        """Refuse to score with no metrics, or neither a checkpoint nor images."""
        if config.metrics is None:
            raise ValueError(f"{self.subcommand} needs metrics, got none: --config metrics/inception has the papers'")
        if needs_checkpoint is not None and not config.get("metrics.init_args.images"):
            raise ValueError(needs_checkpoint)
