"""`gan push`: a trained run as a model of the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path

from gan.cli.arguments import Arguments
from gan.cli.mistakes import MISTAKES, mistakes_in_one_line

_EXAMPLES = """\
examples:
  hf auth login
  gan push runs/quickstart/version_0 anna/digits
  gan push RUN anna/digits --private --license mit
  gan push RUN anna/digits --out model            writes the files into a new folder, to look at them

The model holds the generator and the discriminator as safetensors, a picture of samples, the configuration without
paths of your machine, and a model card with the scores and their protocols. To push again adds a commit.
gan.load("hf://anna/digits").sample(16) uses it."""


def main(arguments: Sequence[str]) -> None:
    """Run `gan push`.

    Args:
        arguments: Its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    parser = Arguments("push", "Share a trained run on the Hugging Face Hub, with a model card.", _EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="the folder of a run (its newest checkpoint) or a checkpoint file")
    parser.add_argument("name", metavar="user/model", help="the model on the hub; made if there is none")
    parser.add_argument("--private", action="store_true", help="a new model is visible to you alone")
    parser.add_argument("--license", default="", metavar="ID", help="for the card: mit, cc-by-4.0, ...")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the files there instead, without the hub")
    given = parser.parse_args(arguments)
    with mistakes_in_one_line(mistakes=(*MISTAKES, ImportError)):
        from gan.sharing.hub import push, write_model  # here, so that --help needs no torch

        if given.out is not None:
            write_model(given.out.expanduser(), given.name, given.run, given.license)
            print(f"{given.out}: README.md is the model card")
            return
        url = push(given.run, given.name, private=given.private, license=given.license)
        print(f"{url}\nuse it: gan.load({f'hf://{given.name}'!r}).sample(16)")
