import pytest

from gan.cli.configurations import with_configurations
from robustness.cli.command import CLI

NAMES = "digits", "cifar10", "cifar100", "cifar10_adversarial", "imagenet"


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_is_understood(name):
    _, *arguments = with_configurations(["fit", "--config", f"robustness/{name}"])
    config = CLI(run=False).parser.parse_args(arguments)
    assert ".resnet" in config.model.network.class_path.lower()
    assert config.evaluation.class_path == "robustness.evaluation.Evaluation"


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--model.norms=[Spectral]", "gan.norms.Spectral"),
        ("--model.norms=[ONI]", "gan.norms.ONI"),
        ("--model.norms=[Conv]", "gan.norms.Conv"),
        ("--model.weight_penalty=ConvOrthogonality", "gan.losses.ConvOrthogonality"),
    ],
)
def test_every_baseline_is_one_word(option, path):
    _, *arguments = with_configurations(["fit", "--config", "robustness/cifar10", option])
    model = CLI(run=False).parser.parse_args(arguments).model
    assert path in [each.class_path for each in (*model.norms, model.weight_penalty) if each]
