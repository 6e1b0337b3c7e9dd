"""What the training step needs besides the networks: optimizers, health checks, compilation, processes."""
