"""Pipelines as ONNX graphs, which run without PyTorch (`facekit.onnx`)."""
