"""Images, grids, interpolations and latent walks from a trained generator."""
