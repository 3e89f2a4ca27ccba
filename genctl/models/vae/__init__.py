"""Variational autoencoder: Kingma & Welling 2014, arXiv:1312.6114."""
