"""Chunk policies that others trained: any ONNX graph that a manifest describes, for evaluation."""
