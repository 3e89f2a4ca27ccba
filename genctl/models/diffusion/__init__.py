"""Diffusion and flow matching: from noise to an image along an ordinary differential equation."""
