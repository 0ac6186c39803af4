"""Install the ROS-free part with pip; colcon builds the ROS 2 package from CMakeLists.txt."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def share(folder: str) -> list[tuple[str, list[str]]]:
    """List the files under ``folder`` as data files of ``share/pizero_ros``."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / folder).rglob('*')):
        if path.is_file():
            relative = path.relative_to(ROOT)
            found.setdefault(f'share/pizero_ros/{relative.parent}', []).append(str(relative))
    return list(found.items())


setup(
    name='pizero_ros',
    version='0.1.0',
    description='On-robot deployment of π0-family flow policies with ROS 2',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['pizero_ros', 'pizero_ros.*']),
    package_data={'pizero_ros': ['py.typed', '**/*.html', '**/*.css', '**/*.js']},
    data_files=share('config'),
    install_requires=[
        'argcomplete>=3',
        'jinja2>=3.1',
        'matplotlib>=3.7',
        'numpy>=1.23',
        'opencv-python-headless>=4.7',
        'pillow>=9.4',
        'pyyaml>=6',
        'rich>=13',
        'rosbags>=0.10',
    ],
    extras_require={
        'cpu': ['onnxruntime>=1.23'],
        'gpu': ['onnxruntime-gpu>=1.23'],
        'lerobot': ['av>=12', 'pyarrow>=14'],
        'ray': ['ray>=2.9'],
        'sim': ['mujoco>=3.3'],
        'tokenizer': ['sentencepiece>=0.2', 'tokenizers>=0.20'],
        'train': ['torch>=2.6', 'onnx>=1.17', 'onnxscript>=0.5', 'safetensors>=0.4'],
        'dev': [
            'mypy>=1.13',
            'pytest>=8',
            'pytest-rerunfailures>=14',
            'pytest-xdist>=3.6',
            'ruff>=0.8',
            'types-PyYAML',
        ],
    },
    entry_points={
        'console_scripts': ['pizero = pizero_ros.cli.main:main'],
        # The same as in cmake/entry_points.txt, which colcon installs.
        'ros2doctor.checks': [
            'PizeroRosCheck = pizero_ros.doctor.ros2doctor_check:PolicyGraphCheck'
        ],
        'ros2doctor.report': [
            'PizeroRosReport = pizero_ros.doctor.ros2doctor_check:PolicyGraphReport'
        ],
    },
)
