"""The configuration that a run keeps."""

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from gan.reports.groups import flat_settings
from gan.runs.files import write_atomically
from gan.runs.folder import CONFIG
from gan.runs.logger import RunLogger, run_folder
from gan.runs.outcome import forget_outcome


class SaveConfig(SaveConfigCallback):
    """Saves the resolved configuration of a training in the run's folder, and shows it in TensorBoard."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do not save yet: the checkpoint may not fit."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when training begins. If a run goes on, its old file is replaced by a whole one, or stays."""
        if (run := run_folder(trainer)) is not None and trainer.is_global_zero:
            forget_outcome(run)
            text = self.parser.dump(self.config, skip_none=False)
            write_atomically(run / CONFIG, lambda file: file.write(text.encode()))
            settings = flat_settings(yaml.safe_load(text))
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):
                    logger.log_settings(settings)
