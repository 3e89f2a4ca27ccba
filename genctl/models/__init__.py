"""The built-in models: a folder for each, which reads like its paper."""
