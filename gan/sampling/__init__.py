"""What is made from a trained generator: images, grids, interpolations, latent walks."""
