"""Writes ``report.json`` and ``report.html``: the same facts, for machines and for people."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pizero_ros.demo.figures import base_figure, joints_figure
from pizero_ros.demo.results import LATENCY_PHASES, SCHEMA_VERSION, robot_json
from pizero_ros.demo.verdict import failures, warnings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.demo.metrics import Window
    from pizero_ros.demo.recording import Recording
    from pizero_ros.demo.results import RobotResult
    from pizero_ros.embodiment.schema import Embodiment

TEMPLATE = 'report.html'
_PICTURE_WIDTH = 320
_JPEG_QUALITY = 85

_PHASE_NOTES = {
    'ros': 'newest camera or joint stamp to the start of preprocessing',
    'preprocess': 'images, state and prompt into tensors',
    'observe': 'ONNX: images, prompt and state into the key/value cache',
    'denoise': 'ONNX: all Euler steps',
    'postprocess': 'tensors back into robot units',
    'publish': 'finished chunk to the last publish call: safety gate, messages',
    'overhead': 'stamp to command, less observe and denoise',
    'stamp_to_command': 'newest stamp to the last publish call',
}


@dataclass(frozen=True)
class RobotSection:
    """One robot's part of the report."""

    result: RobotResult
    recording: Recording
    embodiment: Embodiment
    window: Window


@dataclass(frozen=True)
class Facts:
    """What holds for the whole report.

    ``command`` is how to repeat it, ``created`` the date, ``seconds`` its duration.
    """

    command: str
    created: str
    seconds: float
    versions: Mapping[str, str | None]
    machine: Mapping[str, Any]


def report_json(results: Sequence[RobotResult], facts: Facts) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    robots = [robot_json(each, failures(each), warnings(each)) for each in results]
    return {
        'schema_version': SCHEMA_VERSION,
        'passed': bool(robots) and all(robot['passed'] for robot in robots),
        'created': facts.created,
        'command': facts.command,
        'seconds': round(facts.seconds, 3),
        'robots': robots,
        'versions': dict(facts.versions),
        'machine': dict(facts.machine),
    }


def report_html(sections: Sequence[RobotSection], facts: Facts) -> str:
    """Return the page: one file, nothing loaded from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {'number': _number, 'ms': _milliseconds}
    robots = [_section(each) for each in sections]
    return environment.get_template(TEMPLATE).render(
        robots=robots,
        passed=bool(robots) and not any(robot['failures'] for robot in robots),
        facts=facts,
        phases=LATENCY_PHASES,
        phase_notes=_PHASE_NOTES,
    )


def write_report(out: Path, sections: Sequence[RobotSection], facts: Facts) -> dict[str, Any]:
    """Write both files into ``out``; return the content of the JSON file."""
    out.mkdir(parents=True, exist_ok=True)
    content = report_json([section.result for section in sections], facts)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    (out / 'report.json').write_text(f'{text}\n', encoding='utf-8')
    (out / 'report.html').write_text(report_html(sections, facts), encoding='utf-8')
    return content


def _section(section: RobotSection) -> dict[str, Any]:
    result, recording = section.result, section.recording
    latency = result.latency_ms
    return {
        'result': result,
        'failures': failures(result),
        'warnings': warnings(result),
        'cameras': [
            {
                'stream': stream,
                'pictures': [
                    {
                        'data': _jpeg(rgb),
                        'at_s': (stamp_ns - section.window.start_ns) * 1e-9,
                        'size': f'{rgb.shape[1]} × {rgb.shape[0]}',
                    }
                    for stamp_ns, rgb in recording.pictures.get(stream.slot, ())
                ],
            }
            for stream in result.cameras
        ],
        'joints_svg': Markup(joints_figure(recording, section.embodiment, section.window)),
        'base_svg': Markup(base_figure(recording, section.embodiment, section.window)),
        'latency_scale': max((each['p95'] for each in latency.values()), default=0.0) or 1.0,
    }


def _jpeg(rgb: npt.NDArray[np.uint8]) -> str:
    if rgb.shape[1] > _PICTURE_WIDTH:
        height = round(rgb.shape[0] * _PICTURE_WIDTH / rgb.shape[1])
        rgb = cv2.resize(rgb, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    return base64.b64encode(encoded.tobytes()).decode('ascii')


def _number(value: float | None, digits: int = 3) -> str:
    """Write a number with ``digits`` significant digits, and nothing as a dash."""
    if value is None:
        return '–'
    if value == 0:
        return '0'
    return f'{value:.{digits}g}' if abs(value) < 10**digits else f'{value:.0f}'


def _milliseconds(value: float | None) -> str:
    if value is None:
        return '–'
    return (
        f'{value:.0f}' if value >= 99.95 else f'{value:.1f}' if value >= 0.95 else f'{value:.2f}'
    )
