import pytest

from gan.cli.configurations import with_configurations
from robustness.cli.command import CLI

NAMES = "robustness/digits", "robustness/cifar10", "robustness/cifar100", "robustness/cifar10_adversarial"


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_is_understood(name):
    _, *arguments = with_configurations(["fit", "--config", name])
    config = CLI(run=False).parser.parse_args(arguments)
    assert config.model.network.class_path.startswith("robustness.networks.ResNet")
    assert config.evaluation.class_path == "robustness.evaluation.Evaluation"
