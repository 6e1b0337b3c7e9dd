import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from torch.utils.tensorboard import SummaryWriter

from gan.runs.tensorboard import publish_settings, tag_of


@pytest.mark.parametrize(
    ("name", "is_evaluation", "tag"),
    [
        ("fid", True, "evaluation/fid"),
        ("evaluation_seconds", True, "speed/evaluation_seconds"),
        ("loss/generator", False, "loss/generator"),
        ("logits/real", False, "outputs/logits_real"),
        ("learning_rate/generator", False, "optimizer/learning_rate_generator"),
        ("operator_norm/generator/project", False, "operator_norm/generator/project"),
        ("images_per_second", False, "speed/images_per_second"),
        ("mine", False, "mine"),
    ],
)
def test_a_value_has_its_tag(name, is_evaluation, tag):
    assert tag_of(name, is_evaluation) == tag


def test_scores_come_first_then_losses():
    names = "fid", "loss/penalty", "logits/fake", "learning_rate/x", "operator_norm/x", "images_per_second"
    tags = [tag_of(name, name == "fid") for name in names]
    assert sorted(tags)[:2] == tags[:2]


def test_settings_are_there_for_the_hparams_tab(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        publish_settings(writer, {"loss": "Hinge", "lr": 0.5})
    events = EventAccumulator(str(tmp_path)).Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    found = parse_session_start_info_plugin_data(content).hparams
    values = found["loss"].string_value, found["lr"].number_value
    assert values == ("Hinge", 0.5)
    assert "_hparams_/experiment" not in events.summary_metadata
