"""Bundles and the ONNX Runtime policy that runs them."""
