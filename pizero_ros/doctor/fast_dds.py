"""What the middleware was told: Fast DDS profiles, segments of running processes, sockets."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.doctor.facts import Profile, TransportFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {2: 'FASTRTPS_DEFAULT_PROFILES_FILE', 3: 'FASTDDS_DEFAULT_PROFILES_FILE'}
"""Fast DDS major version → environment variable that it reads."""

_CONFINING = {
    'ROS_AUTOMATIC_DISCOVERY_RANGE': ('LOCALHOST', 'OFF'),
    'ROS_LOCALHOST_ONLY': ('1',),
}
"""Settings by which ROS 2 sees this machine only, or nothing (Iron and later; Humble)."""

_VENDOR = b'\x01\x0f'
"""First bytes of a GUID made by Fast DDS (RTPS 2.3, 8.4.2.3.2: vendor id of eProsima)."""


def transport_facts(
    rmw: str, environment: Mapping[str, str], proc: Path = Path('/proc')
) -> TransportFacts:
    """Read what this shell gives to the programs started from it.

    Args:
        rmw: Implementation in use and loaded, as ``rmw_fastrtps_cpp``.
        environment: Environment variables.
        proc: Folder of the kernel's account of processes and settings.
    """
    variable = VARIABLES.get(_loaded_major(proc / 'self' / 'maps'), '')
    profiles = tuple(
        read_profile(name, environment[name])
        for name in VARIABLES.values()
        if environment.get(name)
    )
    core = proc / 'sys' / 'net' / 'core'
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    confined = [
        f'{name}={environment[name]}'
        for name, values in _CONFINING.items()
        if environment.get(name, '').upper() in values
    ]
    return TransportFacts(
        rmw,
        variable,
        profiles,
        _number(core / 'rmem_max'),
        load,
        confined[0] if confined else '',
    )


def read_profile(variable: str, path: str) -> Profile:
    """Read the shared-memory segment of the default participant of a profile file."""
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        return Profile(variable, path, problem=error.strerror or str(error))
    except ElementTree.ParseError as error:
        return Profile(variable, path, problem=f'not XML: {error}')
    sizes = {}
    for each in _named(root, 'transport_descriptor'):
        names, kinds = _texts(each, 'transport_id'), _texts(each, 'type')
        size = next(iter(_texts(each, 'segment_size')), '')
        if names and kinds == ['SHM'] and size.isdigit():
            sizes[names[0]] = int(size)
    for participant in _named(root, 'participant'):
        if participant.get('is_default_profile') == 'true':
            used = [name for name in _texts(participant, 'transport_id') if name in sizes]
            return Profile(variable, path, max((sizes[name] for name in used), default=None))
    return Profile(variable, path, problem='no participant with is_default_profile="true"')


def is_local(gid: bytes, own_gid: bytes) -> bool | None:
    """Tell whether two endpoints are on one machine, None if their middleware does not say.

    Fast DDS writes two bytes that are the machine's behind the vendor id (GuidUtils.hpp).
    """
    if gid[:2] != _VENDOR or own_gid[:2] != _VENDOR:
        return None
    return gid[2:4] == own_gid[2:4]


def segment_bytes(gid: bytes, proc: Path = Path('/proc')) -> int | None:
    """Return the size of the shared-memory segment of the process that made an endpoint.

    Fast DDS writes the lower half of the process id behind the machine, and a process keeps the
    lock of its own segments open.

    Args:
        gid: Of an endpoint on this machine.
        proc: Folder of the kernel's account of processes.

    Returns:
        The largest segment; None if the process is in another container or of another user.
    """
    if gid[:2] != _VENDOR:
        return None
    low = int.from_bytes(gid[4:6], 'little')
    sizes: list[int] = []
    for process in proc.glob('[0-9]*'):
        if int(process.name) & 0xFFFF == low:
            sizes += _own_segments(process)
    return max(sizes, default=None)


def _loaded_major(maps: Path) -> int:
    """Return the major version of the Fast DDS in this process, 0 if there is none."""
    try:
        found = re.search(r'/libfast(rtps|dds)\.so\.(\d+)', maps.read_text(encoding='utf-8'))
    except OSError:
        return 0
    return int(found[2]) if found else 0


def _own_segments(process: Path) -> list[int]:
    sizes = []
    try:
        for link in (process / 'fd').iterdir():
            lock = str(link.readlink())
            name = Path(lock).name
            if name.startswith('fastrtps_') and name.endswith('_el') and '_port' not in name:
                sizes.append(Path(lock.removesuffix('_el')).stat().st_size)
    except OSError:
        # It has ended meanwhile, or is not ours to look into.
        return sizes
    return sizes


def _named(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return elements of a name in whatever namespace; the root's is optional in Fast DDS."""
    return [each for each in root.iter() if each.tag.rpartition('}')[2] == name]


def _texts(root: ElementTree.Element, name: str) -> list[str]:
    return [(each.text or '').strip() for each in _named(root, name)]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding='ascii'))
    except (OSError, ValueError):
        return None
