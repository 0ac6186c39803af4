"""Who is who on the graph: endpoints of a topic, with what stands between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.duration import Duration
from rclpy.qos import LivelinessPolicy, QoSCompatibility, QoSProfile, qos_check_compatible

from pizero_ros.doctor.facts import Endpoint
from pizero_ros.doctor.fast_dds import is_local, segment_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rclpy.node import Node
    from rclpy.topic_endpoint_info import TopicEndpointInfo

_NAMELESS = '_NODE_NAME_UNKNOWN_'
_INFINITE_NS = 2**63 - 1
_FEEDBACK_TOPIC, _FEEDBACK_TYPE = '/_action/feedback', '_FeedbackMessage'
"""Of every action there is: how ROS 2 makes an action out of topics and services."""


class Graph:
    """What ``node`` has discovered of the others, never of itself."""

    def __init__(self, node: Node) -> None:
        """Look through ``node``."""
        self._node = node
        self._own = node.get_fully_qualified_name()

    def publishers(self, topic: str, subscription: QoSProfile) -> tuple[Endpoint, ...]:
        """Return the publishers of a topic, compared with a subscription of ours."""
        own = self._own_gid(topic)
        found = []
        for info in self._others(self._node.get_publishers_info_by_topic(topic)):
            gid = bytes(info.endpoint_gid)
            local = is_local(gid, own) if own else None
            found.append(
                Endpoint(
                    node=full_name(info),
                    type=info.topic_type,
                    mismatch=_mismatch(info.qos_profile, subscription),
                    segment_bytes=segment_bytes(gid) if local else None,
                    local=local,
                )
            )
        return tuple(found)

    def subscriptions(self, topic: str, publisher: QoSProfile) -> tuple[Endpoint, ...]:
        """Return the subscriptions of a topic, compared with a publisher of ours."""
        return tuple(
            Endpoint(
                node=full_name(info),
                type=info.topic_type,
                mismatch=_mismatch(publisher, info.qos_profile),
            )
            for info in self._others(self._node.get_subscriptions_info_by_topic(topic))
        )

    def action_servers(self, action: str) -> tuple[Endpoint, ...]:
        """Return who serves an action; ``type`` is the action's."""
        infos = self._node.get_publishers_info_by_topic(f'{action}{_FEEDBACK_TOPIC}')
        return tuple(
            Endpoint(full_name(info), info.topic_type.removesuffix(_FEEDBACK_TYPE))
            for info in self._others(infos)
        )

    def actions_of(self, kind: str) -> list[str]:
        """Return the names of the actions of a type that somebody serves."""
        topics = self.topics_of(f'{kind}{_FEEDBACK_TYPE}', published=True)
        return [topic.removesuffix(_FEEDBACK_TOPIC) for topic in topics]

    def deaf(self, topic: str) -> tuple[Endpoint, ...]:
        """Return the subscriptions that do not fit any publisher of the topic."""
        publishers = list(self._others(self._node.get_publishers_info_by_topic(topic)))
        found = []
        for info in self._others(self._node.get_subscriptions_info_by_topic(topic)):
            reasons = [_mismatch(p.qos_profile, info.qos_profile) for p in publishers]
            if reasons and all(reasons):
                found.append(Endpoint(full_name(info), info.topic_type, reasons[0]))
        return tuple(found)

    def topics_of(self, kind: str, *, published: bool) -> list[str]:
        """Return the topics of a message type that somebody else publishes, or subscribes to."""
        look = (
            self._node.get_publishers_info_by_topic
            if published
            else self._node.get_subscriptions_info_by_topic
        )
        topics = self._node.get_topic_names_and_types()
        return sorted(t for t, kinds in topics if kind in kinds and any(self._others(look(t))))

    def everything(self) -> object:
        """Return all that has been discovered, to tell whether anything comes or goes."""
        topics = self._node.get_topic_names_and_types()
        return topics, self._node.get_service_names_and_types(), self.nodes()

    def nodes(self) -> list[str]:
        """Return the full names of the other nodes."""
        pairs = self._node.get_node_names_and_namespaces()
        names = {f'{namespace.rstrip("/")}/{name}' for name, namespace in pairs}
        return sorted(names - {self._own})

    def services_of(self, kind: str) -> list[str]:
        """Return the services of a type."""
        services = self._node.get_service_names_and_types()
        return sorted(name for name, kinds in services if kind in kinds)

    def _others(self, infos: Iterable[TopicEndpointInfo]) -> Iterable[TopicEndpointInfo]:
        return (info for info in infos if full_name(info) != self._own)

    def _own_gid(self, topic: str) -> bytes:
        """Return the GID of a subscription of ours, empty if there is none."""
        for info in self._node.get_subscriptions_info_by_topic(topic):
            if full_name(info) == self._own:
                return bytes(info.endpoint_gid)
        return b''


def full_name(info: TopicEndpointInfo) -> str:
    """Return the full name of an endpoint's node, empty while DDS has not told."""
    if info.node_name == _NAMELESS:
        return ''
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _mismatch(publisher: QoSProfile, subscription: QoSProfile) -> str:
    compatibility, reason = qos_check_compatible(_stated(publisher), _stated(subscription))
    if compatibility != QoSCompatibility.ERROR:
        return ''
    reasons = str(reason).rstrip(';').split(';')
    return '; '.join(each.removeprefix('ERROR: ') for each in reasons)


def _stated(profile: QoSProfile) -> QoSProfile:
    """Return a profile with its defaults spelt out, as discovered ones have them.

    A discovered subscription without a deadline has an infinite one, which no publisher whose
    deadline is the default, 0, would seem to meet.
    """
    return QoSProfile(
        depth=max(profile.depth, 1),
        reliability=profile.reliability,
        durability=profile.durability,
        deadline=_or_infinite(profile.deadline),
        liveliness=(
            LivelinessPolicy.AUTOMATIC
            if profile.liveliness == LivelinessPolicy.SYSTEM_DEFAULT
            else profile.liveliness
        ),
        liveliness_lease_duration=_or_infinite(profile.liveliness_lease_duration),
    )


def _or_infinite(duration: Duration) -> Duration:
    return duration if duration.nanoseconds else Duration(nanoseconds=_INFINITE_NS)
