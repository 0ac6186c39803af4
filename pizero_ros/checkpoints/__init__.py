"""Strict importers: openpi's and lerobot's π0 checkpoints, safetensors only."""
