"""Real-valued non-volume-preserving flow: Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803."""
