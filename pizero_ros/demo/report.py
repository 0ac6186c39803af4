"""Writes ``report.json`` and ``report.html``: the same facts, for machines and for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pizero_ros.demo.figures import base_figure, joints_figure
from pizero_ros.demo.results import LATENCY_PHASES, SCHEMA_VERSION, robot_json
from pizero_ros.demo.verdict import failures, warnings
from pizero_ros.evaluation.report.tables import scores_table
from pizero_ros.evaluation.scores import broken
from pizero_ros.page.pictures import jpeg_base64
from pizero_ros.page.templates import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pizero_ros.demo.metrics import Window
    from pizero_ros.demo.recording import Recording
    from pizero_ros.demo.results import RobotResult
    from pizero_ros.embodiment.schema import Embodiment

TEMPLATE = 'report.html'

_PHASE_NOTES = {
    'ros': 'newest camera or joint stamp to the start of preprocessing',
    'resize': 'its part in which pictures were resized',
    'preprocess': 'images, state and prompt into tensors',
    'observe': 'ONNX: images, prompt and state into the key/value cache',
    'denoise': 'ONNX: all Euler steps',
    'postprocess': 'tensors back into robot units',
    'publish': 'finished chunk to the last publish call: safety gate, messages',
    'overhead': 'stamp to command, less observe and denoise',
    'ros_only': 'overhead, less resize, preprocess and postprocess: what ROS adds',
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


@dataclass(frozen=True)
class Scores:
    """How often the policy does what it is told: keys as in ``evaluation.scores``.

    ``here`` is what was seen on this machine, None where ``failure`` says why nothing was;
    ``shipped`` what was seen when the policy was made, None for a policy that does not ship.
    """

    here: Mapping[str, Any] | None
    shipped: Mapping[str, Any] | None
    failure: str = ''


def report_json(
    results: Sequence[RobotResult], facts: Facts, scores: Scores | None = None
) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    robots = [robot_json(each, failures(each), warnings(each)) for each in results]
    return {
        'schema_version': SCHEMA_VERSION,
        'passed': _passed([robot['passed'] for robot in robots], scores),
        'created': facts.created,
        'command': facts.command,
        'seconds': round(facts.seconds, 3),
        'robots': robots,
        'scores': _scores_of(scores.here if scores else None),
        'scores_failure': scores.failure if scores else '',
        'scores_shipped': _scores_of(scores.shipped if scores else None),
        'versions': dict(facts.versions),
        'machine': dict(facts.machine),
    }


def report_html(
    sections: Sequence[RobotSection], facts: Facts, scores: Scores | None = None
) -> str:
    """Return the page: one file, nothing loaded from elsewhere."""
    robots = [_section(each) for each in sections]
    return (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            robots=robots,
            passed=_passed([not robot['failures'] for robot in robots], scores),
            scores=scores and _tables(scores),
            facts=facts,
            phases=LATENCY_PHASES,
            phase_notes=_PHASE_NOTES,
        )
    )


def write_report(
    out: Path, sections: Sequence[RobotSection], facts: Facts, scores: Scores | None = None
) -> dict[str, Any]:
    """Write both files into ``out``; return the content of the JSON file."""
    out.mkdir(parents=True, exist_ok=True)
    content = report_json([section.result for section in sections], facts, scores)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    (out / 'report.json').write_text(f'{text}\n', encoding='utf-8')
    (out / 'report.html').write_text(report_html(sections, facts, scores), encoding='utf-8')
    return content


def _passed(robots: Sequence[bool], scores: Scores | None) -> bool:
    """A trial that failed is a score; one in which a node failed is a fault."""
    failed = scores is not None and (scores.here is None or broken(scores.here) > 0)
    return bool(robots) and all(robots) and not failed


def _scores_of(content: Mapping[str, Any] | None) -> list[Any] | None:
    return None if content is None else list(content['scores'])


def _tables(scores: Scores) -> dict[str, Any]:
    """Return the scores as tables: here, and those that ship with the policy."""
    here, shipped = scores.here, scores.shipped
    return {
        'failure': scores.failure,
        'broken': here and broken(here),
        'here': here and scores_table(here['scores'], by_task=False),
        'by_task': here and scores_table(here['scores'], by_task=True),
        'shipped': shipped and scores_table(shipped['scores'], by_task=False),
        'shipped_by_task': shipped and scores_table(shipped['scores'], by_task=True),
        'made': shipped and shipped['created'],
    }


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
                        'data': jpeg_base64(rgb),
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
