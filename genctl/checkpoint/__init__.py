"""The file format: a sealed safetensors file, its manifest, and files that are written whole; it knows no model."""
