"""From typed options to a trained run: the loop, the epochs around it, and the state that a resume restores."""
