"""The policy node alone, for any robot: what every other launch file of this package includes."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
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
    ('prompt', '', 'instruction until one arrives on ~/prompt'),
    ('scheduling', 'async', 'async, open_loop, rtc or ensemble'),
    ('dry_run', 'false', 'compute everything, send nothing, until ~/enable says so'),
    ('provider', 'auto', 'ONNX Runtime provider: auto, cpu, cuda, tensorrt'),
    ('noise', 'auto', 'initial noise: auto, gaussian or continuous'),
    ('noise_seed', '0', 'seed of the noise'),
    ('limit_scale', '1.0', 'share of velocity, acceleration and max_step that may be used'),
    ('params_file', '', 'YAML of further parameters of the node (ros2 param list)'),
    ('namespace', '', 'namespace of the node'),
    ('use_sim_time', 'false', 'follow /clock'),
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
    'provider': str,
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
    """The node; arguments of the launch file win over the parameters of params_file."""
    params_file = LaunchConfiguration('params_file').perform(context)
    arguments = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in PARAMETERS.items()
    }
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


def generate_launch_description():
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            OpaqueFunction(function=dds_profile),
            OpaqueFunction(function=policy_node),
        ]
    )
