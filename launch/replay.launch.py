"""A recording played into the policy, in dry run; what it says can be recorded.

Ends with the recording, when the policy has answered and what it said is on disk.
"""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ShutdownProcess
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = (
    ('bag', '', 'recording: rosbag2 folder, .mcap or .db3 file; required'),
    ('embodiment', '', 'name or YAML file of the robot; required'),
    ('bundle', '', 'folder of the policy bundle (pizero export); required'),
    ('prompt', '', "instruction; empty: the recording's"),
    ('instruction_topic', '/instruction', 'topic of the recording that carries the instruction'),
    ('rate', '1.0', 'speed of playback, 1.0 as recorded'),
    ('loop', 'false', 'start again at the end, until stopped'),
    ('start_offset_s', '0.0', 'start so long behind the first message, s'),
    (
        'start_paused',
        'false',
        'stand at the start until ~/pause or ~/step of replay_node is called',
    ),
    ('record', '', 'rosbag2 folder to create with what the policy says; empty: none'),
    # What policy.launch.py declares, here too, so that --show-args lists it.
    ('scheduling', '', 'async (default), open_loop, rtc or ensemble'),
    ('provider', '', 'ONNX Runtime provider: auto (default), cpu, cuda, tensorrt'),
    ('noise', '', 'initial noise: auto (default), gaussian or continuous'),
    ('noise_seed', '', 'seed of the noise, 0 by default'),
    ('limit_scale', '', 'share of the velocity and acceleration limits, 1.0 by default'),
    ('params_file', '', 'YAML of any parameters of the policy; arguments that are given win'),
    ('namespace', '', 'namespace of the nodes'),
    ('log_level', 'info', 'debug, info, warn, error'),
)

POLICY = 'policy_node'
ALWAYS = {'dry_run': 'true', 'replay': 'true', 'use_sim_time': 'true'}

READY_LIMIT_S = 600.0
"""A full-size bundle takes minutes to load; that the policy failed ends the launch at once."""

SETTLE_S = 1.0
"""Everybody is there; until then they have found each other, too."""


def node(executable, parameters, remappings=()):
    return Node(
        package='pizero_ros',
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        emulate_tty=True,
        parameters=[parameters],
        remappings=list(remappings),
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    )


def typed(name, kind):
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def playback(context):
    """The player, and the recorder if there is to be one; the player waits for all others."""
    recorded = LaunchConfiguration('record').perform(context)
    # An instruction that was given is not overruled by the recording's.
    prompted = LaunchConfiguration('prompt').perform(context)
    instruction = '' if prompted else LaunchConfiguration('instruction_topic').perform(context)
    player = node(
        'replay_node',
        {
            'bag': typed('bag', str),
            'embodiment': typed('embodiment', str),
            'rate': typed('rate', float),
            'loop': typed('loop', bool),
            'start_offset_s': typed('start_offset_s', float),
            'start_paused': typed('start_paused', bool),
            'instruction_topic': instruction,
            'wait_for_active': [POLICY],
            'wait_for_listener': [f'{POLICY}/chunk' if recorded else ''],
            'wait_timeout_s': READY_LIMIT_S,
            'start_delay_s': SETTLE_S,
        },
        [(instruction, f'{POLICY}/prompt')] if instruction else [],
    )
    if not recorded:
        return [player]
    recorder = node(
        'record_node',
        {'folder': recorded, 'embodiment': typed('embodiment', str), 'use_sim_time': True},
    )
    return [recorder, ending('record_node', Shutdown(reason='the recorder ended')), player]


def ending(executable, action):
    """Do ``action`` when a node has ended, unless that is because everything ends."""

    def ended(_event, context):
        return None if context.is_shutdown else [action]

    return RegisterEventHandler(
        OnProcessExit(target_action=lambda process: runs(process, executable), on_exit=ended)
    )


def runs(process, executable):
    return isinstance(process, Node) and process.node_executable == executable


def generate_launch_description():
    stop_policy = EmitEvent(
        event=ShutdownProcess(process_matcher=lambda process: runs(process, POLICY))
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            # First the policy, which finishes an inference under way, then the recorder.
            ending('replay_node', stop_policy),
            ending(POLICY, Shutdown(reason='the policy ended')),
            IncludeLaunchDescription(
                PathJoinSubstitution(
                    [FindPackageShare('pizero_ros'), 'launch', 'policy.launch.py']
                ),
                launch_arguments=ALWAYS.items(),
            ),
            OpaqueFunction(function=playback),
        ]
    )
