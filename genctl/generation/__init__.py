"""From weights to pictures: images drawn of noise, paths through a latent, grids and curves."""
