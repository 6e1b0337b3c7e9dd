"""The command `python -m robustness`."""

from collections.abc import Sequence

from gan.cli.main import Program

_HELP = """\
Train classifiers with any normalization, and test them under corruption and attack.

usage: python -m robustness COMMAND ...

commands:
  fit       train, or go on with a run, and test at the end
  test      test a checkpoint
  compare   runs beside each other: table, CSV, Markdown, HTML with curves
  study     a grid of runs (norms x seeds): plan, run, report

examples:
  python -m robustness fit --config robustness/digits               a minute on a CPU, no download
  python -m robustness fit --config robustness/cifar10 --model.norms '[Conv]'
  python -m robustness test runs/digits_classifier/version_0
  python -m robustness study robustness_cifar10_small run -j 2

python -m robustness COMMAND --help says more. GAN_TRACEBACK=1 shows where an error came from."""

_FIT = """\
Train a classifier, or go on with a run; test it at the end.

usage: python -m robustness fit --config NAME|FILE [--config ...] [--OPTION VALUE ...]
       python -m robustness fit --resume RUN [--OPTION VALUE ...]

A configuration is a shipped one by its name (robustness/digits, robustness/cifar10, ...) or a YAML file. Several stack:
later ones win. Options win over all of them.

what to train
  --experiment NAME                    runs lie in <root>/NAME/version_k
  --trainer.default_root_dir FOLDER    the root (default: runs)
  --trainer.max_steps N                training steps, a batch each
  --seed_everything N                  seed of everything random (default: 0)

going on (one of these at most)
  --resume RUN           go on in the run's folder, with its own configuration
  --ckpt_path FILE|RUN   a new version that begins with the checkpoint's whole state; `last`: --resume the newest run
  --init_from FILE|RUN   a new run at step 0 that begins with the checkpoint's weights, as far as they fit

network
  --model.network CLASS                robustness.networks.ResNet18, ResNet20, torchvision.models.resnet50, or yours
  --model.norms '[Conv]'               in order: Conv, Spectral, ONI, ...; batch norms of the network stay
  --model.optimizer CLASS              any of torch.optim; default: SGD as in the paper
  --model.schedule CLASS               robustness.schedules.Drops, or Cosine
  --model.weight_penalty CLASS         a penalty on the weights
  --model.label_smoothing X
  --model.crop N                       random shifts by up to N pixels
  --model.adversarial CLASS            robustness.adversarial.FreeTraining

data
  --data CLASS                         Digits, Folder, CIFAR10, CIFAR100, STL10, ImageNet, ...
  --data.root PATH                     folder or zip of images
  --data.batch_size N                  images of one step, all processes together
  --data.fraction X                    train with this share of each class
  --model.validation X                 of those, the share that is held back
  --model.label_noise CLASS            robustness.label_noise.Symmetric, Pairs, CIFAR100Pairs

test
  --evaluation.attacks LIST            of robustness.attacks: FGSM, PGD, MarginPGD
  --evaluation.num_corrupted N         images for each corruption and severity
  --evaluation.num_attacked N          images for each attack
  --evaluation.transfer_from RUN       make the attacks for this classifier, too

  --print_config         the whole configuration as YAML, and nothing else happens
  --model.network.help CLASS           the options of a class
  --help all             every option there is"""

_TEST = """\
Test a checkpoint; print the table and write it into the run as robustness.csv and robustness.json.

usage: python -m robustness test RUN [--OPTION VALUE ...]
       python -m robustness test --config NAME|FILE --ckpt_path FILE|RUN|last [--OPTION VALUE ...]

The configuration of RUN comes first; --config stacks on it.

  --evaluation.attacks LIST            of robustness.attacks: FGSM, PGD, MarginPGD
  --evaluation.cifar10_c FOLDER        classify the published images of CIFAR-10-C, too
  --evaluation.transfer_from RUN       make the attacks for this classifier, too
  --evaluation.split NAME              test, validation, or another split of the data
  --data.root PATH                     where the images are now, if they moved

  --help all             every option there is"""

SHORT_HELP = {"fit": _FIT, "test": _TEST}
_MODULES = {
    "fit": "robustness.cli.command",
    "test": "robustness.cli.command",
    "compare": "gan.cli.compare",
    "study": "gan.cli.study",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `python -m robustness`, see `Program.run`."""
    Program(_HELP, SHORT_HELP, _MODULES).run(arguments)
