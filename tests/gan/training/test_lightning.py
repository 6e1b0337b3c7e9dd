"""What we lean on in Lightning 2.6.6 that it does not promise. If one of these fails, read what uses it."""

import inspect
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from pytorch_lightning.utilities.exceptions import SIGTERMException
from small_trainings import fit, small_gan

from gan.callbacks import Checkpoint, Interruption
from gan.norms import Batch
from gan.runs.folder import checkpoints
from gan.runs.logger import RunLogger
from gan.training.base import TrainingModule
from gan.training.strategy import GANStrategy, cluster_environment


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list[str] = []

    def setup(self, *_, **__):
        self.events.append("setup")

    def on_fit_start(self, *_):
        self.events.append("on_fit_start")

    def on_train_start(self, *_):
        self.events.append("on_train_start")

    def on_train_epoch_start(self, *_):
        self.events.append("on_train_epoch_start")

    def on_train_batch_start(self, *_):
        self.events.append("on_train_batch_start")


def test_signal_handlers_are_installed_by_one_method_after_setup(monkeypatch):
    """`Interruption` replaces `_SignalConnector.register_signal_handlers` in `setup`."""
    recorder = Recorder()
    monkeypatch.setattr(
        _SignalConnector, "register_signal_handlers", lambda self: recorder.events.append("register_signal_handlers")
    )
    fit(small_gan(), 1, [recorder])
    assert recorder.events.index("setup") < recorder.events.index("register_signal_handlers")
    recorder.events.clear()
    fit(small_gan(), 1, [recorder, Interruption()])
    assert "register_signal_handlers" not in recorder.events


def test_every_step_of_several_processes_asks_for_sigterm(monkeypatch):
    """`Interruption` replaces `_TrainingEpochLoop._broadcast_sigterm_tensor`, which waits for all processes."""
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(_TrainingEpochLoop.advance)
    loop = SimpleNamespace(trainer=SimpleNamespace(strategy=SimpleNamespace(root_device="cpu"), received_sigterm=True))
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: None)
    with pytest.raises(SIGTERMException):
        _TrainingEpochLoop._broadcast_sigterm_tensor(loop)


def test_a_continued_run_begins_no_epoch(tmp_path):
    """So `Interruption` waits for `on_train_batch_start`."""
    logger = RunLogger(str(tmp_path), "x")
    fit(small_gan(), 2, [Checkpoint(every_n_steps=1)], logger=logger)
    recorder = Recorder()
    fit(small_gan(), 2, [recorder], ckpt_path=checkpoints(Path(logger.log_dir))[1])
    assert recorder.events == ["setup", "on_fit_start", "on_train_start", "on_train_batch_start"]


@pytest.mark.parametrize(("codes", "kills"), [([143], True), ([0], False), ([], False)])
def test_the_observer_kills_when_a_child_ends_with_a_code(monkeypatch, codes, kills):
    """`Interruption` empties the list of children, which the observer shares, before they end with 143."""
    killed = []
    monkeypatch.setattr("os.kill", lambda *arguments: killed.append(arguments))
    children = [SimpleNamespace(poll=lambda: None, send_signal=lambda _: None, returncode=c, pid=0) for c in codes]
    assert _ChildProcessObserver(main_pid=1, child_processes=children)._run()
    assert bool(killed) == kills


def test_the_launcher_hands_its_own_list_to_the_observer():
    from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

    assert "_launch_process_observer(self.procs)" in inspect.getsource(_SubprocessScriptLauncher.launch)


def test_checkpoint_callbacks_come_last():
    """`Checkpoint` saves what every other callback did and logged in the step, and sees that it is the last one."""
    trainer = Trainer(callbacks=[Checkpoint(), Interruption(), Recorder()], logger=False, enable_model_summary=False)
    assert isinstance(trainer.callbacks[-1], Checkpoint)


def test_the_minimum_of_steps_can_be_lifted():
    """`Interruption` writes to `fit_loop.min_epochs` and `fit_loop.epoch_loop.min_steps`, which stop `should_stop`."""
    trainer = Trainer(min_steps=5, max_steps=9, logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit_loop.min_epochs = 1
    assert not trainer.fit_loop._can_stop_early
    trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None
    assert trainer.fit_loop._can_stop_early


def test_weights_are_converted_after_they_were_loaded():
    """So `GAN.setup` converts them before: float64 would be loaded into float32."""
    source = inspect.getsource(Trainer._run)
    assert source.index("_call_setup_hook") < source.index("_restore_modules_and_callbacks")
    assert source.index("_restore_modules_and_callbacks") < source.index("self.strategy.setup(self)")
    assert "setup" in TrainingModule.__dict__


def test_optimizers_are_made_before_fit_starts_and_restored_after():
    """`GAN.on_fit_start` compares their kinds with the checkpoint's; `GAN.on_train_start` sets what was restored."""
    source = inspect.getsource(Trainer._run)
    order = ["self.strategy.setup(self)", '"on_fit_start"', "restore_training_state()", "_run_stage()"]
    assert sorted(order, key=source.index) == order


def test_the_update_of_the_discriminator_is_not_counted():
    """`GAN` calls `strategy.optimizer_step` on the bare optimizer; `LightningOptimizer.step` would count."""
    trainer = fit(small_gan(discriminator_steps=3), 2)
    assert trainer.global_step == 2
    loop = trainer.fit_loop.epoch_loop.manual_optimization
    assert loop.optim_step_progress.total.completed == 2


def test_converted_batch_norms_are_refused():
    """Lightning converts them just before `configure_ddp`. A converted one would take no labels."""
    source = inspect.getsource(DDPStrategy.setup)
    assert source.index("_layer_sync.apply") < source.index("self.configure_ddp()")
    strategy = GANStrategy()
    strategy.model = TorchSyncBatchNorm().apply(small_gan(generator_norms=[Batch()]))
    with pytest.raises(ValueError, match="sync_batchnorm must be false, got true: batch norms are over all processes"):
        strategy.configure_ddp()


def test_slurm_says_whether_and_when_to_requeue():
    """`Interruption` reads `auto_requeue` and `requeue_signal`."""
    environment = SLURMEnvironment(auto_requeue=True, requeue_signal=signal.SIGUSR2)
    assert (environment.auto_requeue, environment.requeue_signal) == (True, signal.SIGUSR2)


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "training"}, SLURMEnvironment),
        ({"TORCHELASTIC_RUN_ID": "1", "GROUP_RANK": "0"}, TorchElasticEnvironment),
        ({}, type(None)),
    ],
)
def test_who_started_the_process_is_known_on_a_single_device(variables, kind, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    alone = SimpleNamespace(strategy=SingleDeviceStrategy())
    assert isinstance(cluster_environment(alone), kind)
    several = SimpleNamespace(strategy=GANStrategy(cluster_environment=LightningEnvironment()))
    assert isinstance(cluster_environment(several), LightningEnvironment)


def test_stopping_is_asked_for_by_an_attribute():
    assert "self.trainer.should_stop and self._can_stop_early" in inspect.getsource(_FitLoop.done.fget)
