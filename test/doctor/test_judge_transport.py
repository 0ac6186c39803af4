"""The middleware: shared memory large enough for the images that are there, socket buffers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pizero_ros.doctor.facts import Picture, Profile, TransportFacts
from pizero_ros.doctor.judge_transport import judge_transport

MB = 1_000_000
VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
SHIPPED = Profile(VARIABLE, '/share/fastdds_shm.xml', 64 * 1024 * 1024)


@pytest.fixture
def fast_dds(facts):
    """Give a function that makes facts of a robot on Fast DDS with 0.9 MB images."""

    def make(*profiles, **transport):
        values = {'rmem_max_bytes': 16 * MB} | transport
        transport = TransportFacts('rmw_fastrtps_cpp', VARIABLE, profiles, **values)
        return replace(facts, transport=transport)

    return make


def _publishers(facts, **changes):
    """Change the publisher of every input."""
    inputs = tuple(
        replace(each, publishers=(replace(each.publishers[0], **changes),))
        for each in facts.inputs
    )
    return replace(facts, inputs=inputs)


def test_shipped_profile_is_right(fast_dds, wrong):
    findings = judge_transport(fast_dds(SHIPPED))
    assert wrong(findings) == []
    assert '67.1 MB' in next(each.found for each in findings if each.check == 'profile')


def test_large_images_without_a_profile_are_a_warning(fast_dds, wrong):
    (finding,) = wrong(judge_transport(fast_dds()))
    assert (finding.severity, finding.subject) == ('warning', VARIABLE)
    assert finding.expected.startswith('at least 7.4 MB')
    assert finding.remedy.startswith(f'`export {VARIABLE}=')


def test_small_images_need_no_profile(fast_dds, wrong):
    facts = fast_dds()
    small = tuple(
        replace(each, picture=Picture('jpeg', 0, 0, 20_000) if each.picture else None)
        for each in facts.inputs
    )
    assert wrong(judge_transport(replace(facts, inputs=small))) == []


def test_profile_that_is_not_read_is_an_error(fast_dds, wrong):
    absent = Profile(VARIABLE, '/nope.xml', problem='No such file or directory')
    (finding,) = wrong(judge_transport(fast_dds(absent)))
    assert (finding.severity, finding.check) == ('error', 'profile')
    assert finding.found == '/nope.xml: No such file or directory'


def test_profile_for_another_fast_dds_counts_for_nothing(fast_dds, wrong):
    other = replace(SHIPPED, variable='FASTDDS_DEFAULT_PROFILES_FILE')
    (finding,) = wrong(judge_transport(fast_dds(other)))
    assert (finding.severity, finding.subject) == ('warning', VARIABLE)


def test_segment_of_the_publishing_process_decides(fast_dds, wrong):
    facts = _publishers(fast_dds(SHIPPED), segment_bytes=549_408)
    findings = wrong(judge_transport(facts))
    assert [each.subject for each in findings] == [
        '/base_camera/image_raw',
        '/wrist_camera/image_raw',
        '/side_camera/image_raw',
    ]
    assert findings[0].found == '/driver has a shared-memory segment of 0.5 MB'
    # 8 images of each of the three cameras of one process.
    assert findings[0].expected.startswith('at least 22.1 MB')
    assert 'Where /driver is started' in findings[0].remedy


def test_segment_that_cannot_be_looked_into_is_left_out(fast_dds):
    findings = judge_transport(_publishers(fast_dds(SHIPPED), segment_bytes=None))
    assert not [each for each in findings if each.check == 'segment']


def test_socket_buffers_matter_for_images_of_another_machine(fast_dds, wrong):
    facts = fast_dds(SHIPPED, rmem_max_bytes=212_992)
    assert wrong(judge_transport(facts)) == []
    remote = _publishers(facts, local=False, segment_bytes=None)
    (finding,) = wrong(judge_transport(remote))
    assert (finding.severity, finding.subject) == ('warning', 'net.core.rmem_max')
    assert 'sudo sysctl -w net.core.rmem_max=16777216' in finding.remedy


def test_confined_discovery_matters_where_a_publisher_is_missing(fast_dds, wrong):
    facts = fast_dds(SHIPPED, confined='ROS_LOCALHOST_ONLY=1')
    assert wrong(judge_transport(facts)) == []
    inputs = (replace(facts.inputs[0], publishers=()), *facts.inputs[1:])
    (finding,) = wrong(judge_transport(replace(facts, inputs=inputs)))
    assert (finding.severity, finding.check) == ('warning', 'range')
    assert finding.remedy == '`unset ROS_LOCALHOST_ONLY`, on every machine.'


def test_busy_machine_is_told(fast_dds, wrong):
    (finding,) = wrong(judge_transport(fast_dds(SHIPPED, load=2.5)))
    assert (finding.severity, finding.found) == ('warning', '2.50 per core')


def test_other_middleware_is_unknown(facts, wrong):
    (finding,) = wrong(judge_transport(facts))
    assert (finding.severity, finding.check) == ('unknown', 'buffers')
