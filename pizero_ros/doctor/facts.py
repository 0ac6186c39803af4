"""What a look at a live graph gathers: plain values, judged without ROS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.embodiment.schema import ActionGroup, Camera, SpeedScaling, StateSource
    from pizero_ros.observation.refusal import Reason
    from pizero_ros.observation.streams import StreamStatus

ClockName = Literal['system', 'simulated']


@dataclass(frozen=True)
class Endpoint:
    """A publisher or a subscription of another node.

    Attributes:
        node: Its full name, empty while DDS has not told.
        type: Message type, as ``sensor_msgs/msg/Image``.
        mismatch: Why its QoS does not fit the other side's, empty if it does.
        segment_bytes: Size of the shared-memory segment of its process; None if it runs on
            another machine or cannot be looked into.
        local: Whether it runs on this machine; None if its middleware does not say.
    """

    node: str
    type: str
    mismatch: str = ''
    segment_bytes: int | None = None
    local: bool | None = None


@dataclass(frozen=True)
class Timing:
    """When the messages of one topic came, against their stamps.

    Attributes:
        received: Messages.
        unstamped: Of them with a zero stamp.
        rate_hz: Measured rate of arrival; 0 below two messages.
        age_s: Smallest, median and largest age on arrival (negative: stamped in the future);
            None without a stamp.
        stale_share: Share of the time in which what is held was older than its limit.
        longest_gap_s: Longest time between two arrivals.
    """

    received: int
    unstamped: int
    rate_hz: float
    age_s: tuple[float, float, float] | None
    stale_share: float
    longest_gap_s: float


@dataclass(frozen=True)
class Picture:
    """The last image of a camera.

    Attributes:
        encoding: Pixel encoding, or format if compressed.
        width: In pixels, 0 if compressed.
        height: In pixels, 0 if compressed.
        size_bytes: Size of the data.
    """

    encoding: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True)
class InputFacts:
    """One input topic.

    Attributes:
        stream: Its entry in the embodiment.
        type: Message type that the policy subscribes to.
        publishers: Their ``mismatch`` is against the policy's own subscription.
        deaf: Other subscriptions that get nothing from a publisher, with the reason.
        timing: None if nothing arrived.
        status: The same counters as in the policy node.
        picture: Of a camera that sent one.
        names: Joint names that messages carried.
        elsewhere: Other topics of this type.
        taken: Whether the policy node subscribes; None if none runs or it is not configured.
    """

    stream: Camera | StateSource
    type: str
    publishers: tuple[Endpoint, ...] = ()
    deaf: tuple[Endpoint, ...] = ()
    timing: Timing | None = None
    status: StreamStatus | None = None
    picture: Picture | None = None
    names: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    taken: bool | None = None


@dataclass(frozen=True)
class Looks:
    """Observations that were asked for as the policy would.

    Attributes:
        count: How many.
        fit: How many of them the policy could have used.
        reasons: Last reason of each kind and topic → in how many looks it stood.
    """

    count: int = 0
    fit: int = 0
    reasons: Mapping[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Listener:
    """A subscription of a command topic.

    Attributes:
        endpoint: The subscription; its ``mismatch`` is against the policy's publisher.
        parameters: Those of its node that matter here; None if its parameter services did not
            answer.
        state: What the controller manager says of a controller of this name, empty if nothing.
    """

    endpoint: Endpoint
    parameters: Mapping[str, object] | None = None
    state: str = ''


@dataclass(frozen=True)
class GroupFacts:
    """One command topic.

    Attributes:
        group: Its entry in the embodiment.
        type: Message type that the policy publishes, or type of the action that it calls.
        listeners: Who subscribes, or who serves the action.
        publishers: Who publishes, the policy node that is meant excepted.
        commands: Messages that came while listening.
        speed: Factor of the controller's state topic; None if it did not say.
        speed_problem: Why the factor could not be read, though there is such a topic.
        base_at: Where the base is in the frame of its workspace, x and y in m; None if it has
            none, or did not say.
        elsewhere: Other topics of this type that somebody subscribes to, or other actions of it.
    """

    group: ActionGroup
    type: str
    listeners: tuple[Listener, ...] = ()
    publishers: tuple[Endpoint, ...] = ()
    commands: int = 0
    speed: float | None = None
    speed_problem: str = ''
    base_at: tuple[float, float] | None = None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpeedFacts:
    """The topic on which the controllers say how fast they run.

    Attributes:
        source: Its entry in the embodiment.
        type: Message type that the policy subscribes to.
        publishers: Who publishes.
        rate_hz: Factors a second.
        factor: The last one, 1 for full speed; None before the first.
        elsewhere: Other topics of this type.
    """

    source: SpeedScaling
    type: str
    publishers: tuple[Endpoint, ...] = ()
    rate_hz: float = 0.0
    factor: float | None = None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyFacts:
    """A running policy node.

    Attributes:
        node: Full name.
        others: Further policy nodes.
        lifecycle: Label of its lifecycle state, empty if it did not answer.
        parameters: Those that matter here; None if it did not answer.
        state: ``PolicyStatus.STATE_*`` in lower case without the prefix, empty without a status.
        reason: Why it holds.
        embodiment: Name of the robot it runs.
        faults: Input topic → what it says is wrong with it.
    """

    node: str
    others: tuple[str, ...] = ()
    lifecycle: str = ''
    parameters: Mapping[str, object] | None = None
    state: str = ''
    reason: str = ''
    embodiment: str = ''
    faults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClockFacts:
    """What time it is.

    Attributes:
        used: Clock that ages were measured against.
        publishers: Nodes that publish /clock.
        ticks: Messages on it while listening.
    """

    used: ClockName = 'system'
    publishers: tuple[str, ...] = ()
    ticks: int = 0


@dataclass(frozen=True)
class Profile:
    """A Fast DDS profile that an environment variable names.

    Attributes:
        variable: The variable.
        path: Its value.
        segment_bytes: Shared-memory segment of the default participant, None without one.
        problem: Why the file does not take effect, empty if it does.
    """

    variable: str
    path: str
    segment_bytes: int | None = None
    problem: str = ''


@dataclass(frozen=True)
class TransportFacts:
    """The middleware of this shell, which is that of what is started from it.

    Attributes:
        rmw: Implementation, as ``rmw_fastrtps_cpp``.
        profile_variable: The variable that this version of Fast DDS reads.
        profiles: Fast DDS profiles by the variables that are set.
        rmem_max_bytes: Kernel limit of a socket's receive buffer, None where there is none.
        load: Processes that wanted a core in the last minute, per core.
        confined: Setting that keeps discovery on this machine, empty if none does.
    """

    rmw: str
    profile_variable: str = ''
    profiles: tuple[Profile, ...] = ()
    rmem_max_bytes: int | None = None
    load: float = 0.0
    confined: str = ''


@dataclass(frozen=True)
class Facts:
    """Everything that was gathered.

    Attributes:
        listened_s: Time for which messages were counted.
        domain: ROS domain.
        inputs: In the order of the embodiment file, cameras first.
        looks: Observations asked for as the policy would.
        groups: In the order of the embodiment file.
        speed: None if the embodiment names no source of speed factors.
        policy: None if no policy node runs.
        clock: Of the graph.
        transport: Of this shell.
        manager_problem: Why the controller manager could not be asked, though there is one.
        types_problem: Message types that this robot needs and this machine lacks.
    """

    listened_s: float
    domain: int
    inputs: tuple[InputFacts, ...]
    looks: Looks
    groups: tuple[GroupFacts, ...]
    policy: PolicyFacts | None
    clock: ClockFacts
    transport: TransportFacts
    manager_problem: str = ''
    types_problem: str = ''
    speed: SpeedFacts | None = None
