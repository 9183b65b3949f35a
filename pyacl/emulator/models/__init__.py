"""Offline models: the .om container, its description, its compiler from ONNX, and what runs it on this machine."""
