"""The contract of a model, the registry, and the built-in models: a folder for each, which reads like its paper."""
