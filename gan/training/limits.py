"""The trainer's limits in terms of training steps."""

from collections.abc import Callable

from pytorch_lightning import Trainer

from gan.training.strategy import GANStrategy, cluster_environment


def check_processes(trainer: Trainer) -> None:
    """Check that the trainer uses all processes that were started.

    Raises:
        ValueError: if their number differs from what the trainer asks for, or its strategy would train them wrongly.
    """
    environment = cluster_environment(trainer)
    started = trainer.world_size if environment is None else environment.world_size()
    if started != trainer.world_size:
        raise ValueError(
            f"{started} processes have been started, but trainer.devices and trainer.num_nodes ask for "
            f"{trainer.world_size}"
        )
    if started > 1 and not isinstance(trainer.strategy, GANStrategy):
        raise ValueError("several processes need trainer.strategy=gan.training.strategy.GANStrategy")


def check_limits(trainer: Trainer) -> None:
    """Check the limits of a training.

    Raises:
        ValueError: if they would train nothing, or are not in training steps.
    """
    if trainer.max_steps < 1:
        raise ValueError(f"trainer.max_steps must be at least 1, got {trainer.max_steps}")
    epochs, batches = trainer.max_epochs, trainer.limit_train_batches
    for setting, limit in {"limit_train_batches": batches, "max_epochs": epochs}.items():
        if limit == 0:
            raise ValueError(f"trainer.{setting} must not be 0: nothing would be trained")
    if epochs is not None and epochs > 0 and not isinstance(batches, int):
        raise ValueError(
            f"trainer.max_epochs must be -1, got {epochs}: the data have no end, trainer.max_steps is the limit"
        )
    if batches := trainer.overfit_batches:  # type: ignore[attr-defined]
        raise ValueError(f"trainer.overfit_batches must be 0, got {batches}: to train on fewer images, use fewer")


def limit_by_steps_alone(trainer: Trainer) -> Callable[[], None]:
    """Let training steps be the only limit: Lightning also counts epochs, and ours has no end.

    Returns:
        A function that restores the trainer's own limits.
    """
    loop, epochs, batches = trainer.fit_loop, trainer.max_epochs, trainer.limit_train_batches
    max_steps = loop.epoch_loop.max_steps
    loop.min_epochs = None  # Lightning sets 1 when `min_steps` is given
    if isinstance(batches, int) and epochs is not None and epochs > 0:
        loop.epoch_loop.max_steps = min(max_steps, epochs * batches)
        loop.max_epochs = -1

    def restore() -> None:
        loop.max_epochs, loop.epoch_loop.max_steps = epochs, max_steps

    return restore
