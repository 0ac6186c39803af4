"""The policy node alone, for any robot: what every other launch file of this package includes."""

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = (
    # Empty instead of absent: launch wants what an included file requires from the file that
    # includes it, not from the command line. The node refuses an empty one.
    ('embodiment', '', 'name or YAML file of the robot; required'),
    ('bundle', '', 'folder of the policy bundle (pizero export); required'),
    ('prompt', '', 'instruction until one arrives on ~/prompt; with a planner: none'),
    ('planner', '', 'script, human or vlm: planner.launch.py too; empty: no planner'),
    ('script', '', 'of the planner: name or YAML file with prompts and tasks'),
    ('instruction', '', 'of the planner: long instruction, begun once the policy is active'),
    # Empty here too, so that what nobody gives does not beat the file of parameters.
    ('scheduling', '', 'async (default), open_loop, rtc or ensemble'),
    ('dry_run', '', 'true: compute everything, send nothing, until ~/enable says so'),
    ('replay', '', 'true: sensors come from a recording, nobody watches whether arms follow'),
    ('provider', '', 'ONNX Runtime provider: auto (default), cpu, cuda, tensorrt'),
    ('variant', '', 'graphs of the bundle; those made for the provider (default), cpu_int8, …'),
    ('noise', '', 'initial noise: auto (default), gaussian or continuous'),
    ('noise_seed', '', 'seed of the noise, 0 by default'),
    ('limit_scale', '', 'share of the velocity and acceleration limits, 1.0 by default'),
    ('params_file', '', 'YAML of any parameters of the node; arguments that are given win'),
    ('namespace', '', 'namespace of the node'),
    ('use_sim_time', '', 'true: follow /clock'),
    ('autostart', 'true', 'configure and activate at once'),
    ('log_level', 'info', 'debug, info, warn, error'),
    ('dds_profile', '', 'Fast DDS profile; empty: the shared-memory profile of this package'),
)

PARAMETERS = {
    'embodiment': str,
    'bundle': str,
    'prompt': str,
    'scheduling': str,
    'dry_run': bool,
    'replay': bool,
    'provider': str,
    'variant': str,
    'noise': str,
    'noise_seed': int,
    'limit_scale': float,
    'use_sim_time': bool,
    'autostart': bool,
}


def dds_profile(context):
    """Point both generations of Fast DDS at the profile; without it raw images get lost."""
    chosen = LaunchConfiguration('dds_profile').perform(context) or PathJoinSubstitution(
        [FindPackageShare('pizero_ros'), 'config', 'fastdds_shm.xml']
    ).perform(context)
    return [
        SetEnvironmentVariable('FASTRTPS_DEFAULT_PROFILES_FILE', chosen),
        SetEnvironmentVariable('FASTDDS_DEFAULT_PROFILES_FILE', chosen),
    ]


def policy_node(context):
    """The node; arguments that were given win over the parameters of params_file."""
    params_file = LaunchConfiguration('params_file').perform(context)
    arguments = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in PARAMETERS.items()
        if LaunchConfiguration(name).perform(context)
    }
    if LaunchConfiguration('planner').perform(context):
        # The robot waits for the planner's first prompt.
        arguments['prompt'] = ''
    return [
        LifecycleNode(
            package='pizero_ros',
            executable='policy_node',
            name='policy_node',
            namespace=LaunchConfiguration('namespace'),
            output='screen',
            emulate_tty=True,
            parameters=[*([params_file] if params_file else []), arguments],
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        )
    ]


def planner(context):
    """The planner, where one was asked for; its arguments are those of its own launch file."""
    if not LaunchConfiguration('planner').perform(context):
        return []
    return [
        IncludeLaunchDescription(
            PathJoinSubstitution([FindPackageShare('pizero_ros'), 'launch', 'planner.launch.py'])
        )
    ]


def generate_launch_description():
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            OpaqueFunction(function=dds_profile),
            OpaqueFunction(function=policy_node),
            OpaqueFunction(function=planner),
        ]
    )
