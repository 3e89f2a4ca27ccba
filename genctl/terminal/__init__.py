"""Words on the terminal: where they go, progress, and the signals that stop a training."""
