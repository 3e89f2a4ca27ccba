"""A trained model for other programs: ONNX, torch.export, and a folder in the Hub's form."""
