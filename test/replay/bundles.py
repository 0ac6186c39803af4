"""Bundles for robots that only tests know."""

from __future__ import annotations

import shutil
from dataclasses import replace

from pizero_ros.export.random_bundle import random_semantics
from pizero_ros.model.architecture import architecture_path, read_architecture
from pizero_ros.policy.manifest_read import read_manifest
from pizero_ros.policy.manifest_write import manifest_text


def refit(tiny_bundle, folder, robots):
    """Copy the tiny bundle and give it statistics of other robots: an export takes seconds."""
    shutil.copytree(tiny_bundle, folder)
    architecture = read_architecture(architecture_path('tiny'))
    path = folder / 'policy.yaml'
    semantics = {robot.name: random_semantics(robot, architecture) for robot in robots}
    path.write_text(manifest_text(replace(read_manifest(path), embodiments=semantics)))
    return folder
