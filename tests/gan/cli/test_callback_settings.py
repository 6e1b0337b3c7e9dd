import json

import pytest
from test_cli import small, train  # noqa: F401 (a fixture)

from gan.callbacks import Monitor
from gan.cli.callbacks import apply_settings, split_settings
from gan.cli.command import CLI
from gan.cli.configurations import with_configurations

CALLBACKS = [
    {"class_path": "gan.callbacks.EMA", "init_args": {"half_life_images": 5000}},
    {"class_path": "gan.callbacks.Monitor", "init_args": {"every_n_steps": 25}},
]


def test_settings_are_split_off():
    rest, settings = split_settings(["fit", "--callbacks.A.x", "7", "--seed_everything=1", "--callbacks.B.y=[1, null]"])
    assert rest == ["fit", "--seed_everything=1"]
    assert settings == [("A", "x", 7), ("B", "y", [1, None])]


def test_the_named_callback_alone_changes():
    ema, monitor = apply_settings(CALLBACKS, [("Monitor", "every_n_steps", 7)])
    assert ema == CALLBACKS[0]
    assert monitor == {"class_path": "gan.callbacks.Monitor", "init_args": {"every_n_steps": 7}}
    assert CALLBACKS[1]["init_args"] == {"every_n_steps": 25}


def callbacks_of(*arguments):
    _, *options = with_configurations(arguments)
    config = CLI(run=False).parser.parse_args(options)
    return {each.class_path.rpartition(".")[2]: each.get("init_args") for each in config.trainer.callbacks}


def test_the_parser_takes_them_after_the_configuration():
    before = callbacks_of("fit", "--config", "quickstart")
    after = callbacks_of("fit", "--callbacks.Monitor.every_n_steps=7", "--config", "quickstart")
    assert after.pop("Monitor").every_n_steps == 7
    del before["Monitor"]
    assert after == before


def test_callbacks_added_by_the_command_line_are_set_as_lightning_documents():
    added = callbacks_of(
        "fit", "--config", "quickstart", "--trainer.callbacks+=Timer", "--trainer.callbacks.verbose=false"
    )
    assert added["Timer"].verbose is False


def test_a_run_follows_them(train, monkeypatch):  # noqa: F811
    seen = []
    monkeypatch.setattr(Monitor, "on_train_start", lambda self, *_: seen.append(self.every_n_steps))
    monkeypatch.setattr(Monitor, "on_train_batch_end", lambda *_: None)
    train(*small("--trainer.max_steps=1", "--callbacks.Monitor.every_n_steps", "7"))
    assert seen == [7]


MISTAKES = {
    "--callbacks.Monitr.every_n_steps=7": "there is none of that name in trainer.callbacks (EMA, Monitor, SampleGrid, ",
    "--callbacks.Monitor.every_n_step=7": "Option 'every_n_step' is not accepted; known are every_n_steps",
    "--callbacks.Monitor.every_n_steps=x": "expected int, got x",
    "--callbacks.Monitor.every_n_steps=0": "Monitor: every_n_steps must be at least 1, got 0",
    "--callbacks.Monitor.every_n_steps": "--callbacks.Monitor.every_n_steps needs a value",
    "--callbacks.Monitor=7": "--callbacks.Monitor is not --callbacks.NAME.ARGUMENT",
    "--trainer.callbacks.every_n_steps=7": "would change whichever callback is last: --callbacks.NAME.every_n_steps",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_one_line(argument, train, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=1", argument))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert MISTAKES[argument] in line


def test_two_of_a_name_cannot_be_meant():
    with pytest.raises(ValueError, match="there are 2 of that name"):
        apply_settings(json.loads(json.dumps(CALLBACKS[1:] * 2)), [("Monitor", "every_n_steps", 7)])
