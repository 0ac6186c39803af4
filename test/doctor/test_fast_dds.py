"""Profiles, segments and kernel limits as they are on disk."""

from __future__ import annotations

import pytest

from pizero_ros.doctor.fast_dds import is_local, read_profile, segment_bytes, transport_facts
from pizero_ros.resources import config_dir

VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
PUBLISHER = bytes.fromhex('010f78fd5440062f0000000000001303')
"""GID of a publisher of process 16468 (0x4054), as Fast DDS 2.14 made it."""


def test_shipped_profile_has_a_segment_of_64_mib():
    path = str(config_dir() / 'fastdds_shm.xml')
    profile = read_profile(VARIABLE, path)
    assert (profile.segment_bytes, profile.problem) == (64 * 1024 * 1024, '')


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        (None, 'No such file'),
        ('<profiles', 'not XML'),
        ('<profiles><participant profile_name="x"/></profiles>', 'is_default_profile'),
    ],
)
def test_profile_that_takes_no_effect_says_why(tmp_path, text, problem):
    path = tmp_path / 'profile.xml'
    if text is not None:
        path.write_text(text)
    assert problem in read_profile(VARIABLE, str(path)).problem


def test_transport_that_no_participant_uses_does_not_count(tmp_path):
    path = tmp_path / 'profile.xml'
    path.write_text(
        '<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles>'
        '<transport_descriptors><transport_descriptor><transport_id>big</transport_id>'
        '<type>SHM</type><segment_size>9000000</segment_size></transport_descriptor>'
        '</transport_descriptors><participant profile_name="x" is_default_profile="true"/>'
        '</profiles></dds>'
    )
    profile = read_profile(VARIABLE, str(path))
    assert (profile.segment_bytes, profile.problem) == (None, '')


@pytest.mark.parametrize(
    ('library', 'variable'),
    [('rtps.so.2.14', VARIABLE), ('dds.so.3.2', 'FASTDDS_DEFAULT_PROFILES_FILE')],
)
def test_loaded_library_decides_which_variable_is_read(tmp_path, library, variable):
    proc = tmp_path / 'proc'
    (proc / 'self').mkdir(parents=True)
    (proc / 'self' / 'maps').write_text(f'7f00-7f01 r-xp 0 0:0 1 /opt/ros/lib/libfast{library}\n')
    (proc / 'sys' / 'net' / 'core').mkdir(parents=True)
    (proc / 'sys' / 'net' / 'core' / 'rmem_max').write_text('212992\n')
    environment = {VARIABLE: '/nope', 'ROS_LOCALHOST_ONLY': '1'}
    facts = transport_facts('rmw_fastrtps_cpp', environment, proc)
    assert facts.profile_variable == variable
    assert facts.rmem_max_bytes == 212_992
    assert [each.problem for each in facts.profiles] == ['No such file or directory']
    assert facts.confined == 'ROS_LOCALHOST_ONLY=1'


def test_gid_tells_the_machine():
    same, other = bytes.fromhex('010f78fd6940'), bytes.fromhex('010f1111abcd')
    assert is_local(PUBLISHER, same) is True
    assert is_local(PUBLISHER, other) is False
    assert is_local(b'\x01\x10' + PUBLISHER[2:], same) is None


def test_segment_is_that_of_the_publishing_process(tmp_path):
    for process, sizes in {16468: (549_408, 70_255_136), 16469: (1_000,)}.items():
        folder = tmp_path / str(process) / 'fd'
        folder.mkdir(parents=True)
        for number, size in enumerate(sizes):
            segment = tmp_path / f'fastrtps_{process}{number}'
            segment.write_bytes(b'')
            with segment.open('r+b') as file:
                file.truncate(size)
            (folder / str(number)).symlink_to(f'{segment}_el')
        (folder / '9').symlink_to(tmp_path / 'fastrtps_port7410_el')
    assert segment_bytes(PUBLISHER, tmp_path) == 70_255_136
    assert segment_bytes(PUBLISHER[:4] + b'\xff\xff' + PUBLISHER[6:], tmp_path) is None
    assert segment_bytes(b'\x01\x10' + PUBLISHER[2:], tmp_path) is None
