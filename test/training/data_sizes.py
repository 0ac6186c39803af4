"""Sizes of a policy for the small robot of the recordings."""

from pizero_ros.model.architecture import Architecture, GemmaSizes, VisionSizes

SIZES = Architecture(
    vision=VisionSizes(image_size=28, patch=14, width=16, depth=1, mlp=24, heads=2),
    vlm=GemmaSizes(width=16, depth=2, mlp=24, heads=2, kv_heads=1, head_dim=8),
    expert=GemmaSizes(width=12, depth=2, mlp=24, heads=2, kv_heads=1, head_dim=8),
    vocabulary=300,
    max_tokens=24,
    state_dim=18,
    action_dim=18,
    horizon=10,
)
