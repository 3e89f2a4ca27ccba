"""What a model is worth: bounds on its likelihood, and how good its samples are."""
