"""A simulated robot and the policy on it.

Without ``bundle:=…`` it is the policy that ships with the package, which knows the tasks in
docs/demonstrations.md; a robot that it does not know gets an untrained one, exported first (needs
PyTorch): it moves smoothly and to no purpose.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import LaunchDescription

# Declared here too, so that --show-args lists them although the include comes late.
POLICY_ARGUMENTS = (
    ('prompt', '', 'instruction until one arrives on ~/prompt; empty: touch the red cube'),
    ('planner', '', 'script, human or vlm: planner.launch.py too; empty: no planner'),
    ('script', '', 'of the planner: name or YAML file with prompts and tasks'),
    ('instruction', '', 'of the planner: long instruction, begun once the policy is active'),
    ('scheduling', '', 'async (default), open_loop, rtc or ensemble'),
    ('limit_scale', '', 'share of the velocity and acceleration limits, 1.0 by default'),
    ('params_file', '', 'YAML of any parameters of the policy; arguments that are given win'),
    ('dry_run', '', 'true: compute everything, send nothing, until ~/enable says so'),
    ('namespace', '', 'namespace of both nodes'),
    ('use_sim_time', 'false', 'the simulation publishes /clock, and the policy follows it'),
    ('log_level', 'info', 'debug, info, warn, error'),
)


TWO_ARMS = ('sim_dual_arm', 'sim_mobile')
SHIPPED_FOR = ('sim_single_arm', *TWO_ARMS)


def policy(bundle, context):
    prompt = LaunchConfiguration('prompt').perform(context)
    if not prompt:
        two_arms = LaunchConfiguration('embodiment').perform(context) in TWO_ARMS
        prompt = 'touch the red cube' + (' with the left arm' if two_arms else '')
    return IncludeLaunchDescription(
        PathJoinSubstitution([FindPackageShare('pizero_ros'), 'launch', 'policy.launch.py']),
        launch_arguments={'bundle': bundle, 'prompt': prompt}.items(),
    )


def with_bundle(context):
    """Start the policy: the one that is given, else the shipped one, else an untrained one."""
    bundle = LaunchConfiguration('bundle').perform(context)
    if bundle:
        return [policy(bundle, context)]
    embodiment = LaunchConfiguration('embodiment').perform(context)
    share = FindPackageShare('pizero_ros').perform(context)
    shipped = Path(share) / 'config' / 'policies' / 'demo'
    if embodiment in SHIPPED_FOR:
        return [
            LogInfo(msg=f'policy that ships with the package: {shipped}'),
            policy(str(shipped), context),
        ]
    cached = Path.home() / '.cache' / 'pizero_ros' / f'untrained_{Path(embodiment).stem}'
    start = policy(str(cached), context)
    if (cached / 'policy.yaml').is_file():
        return [LogInfo(msg=f'untrained bundle {cached}'), start]
    export = ExecuteProcess(
        cmd=[
            ExecutableInPackage(executable='pizero', package='pizero_ros'),
            *('export', '--random', 'tiny', '--embodiment', embodiment, '--out', str(cached)),
        ],
        output='screen',
    )

    def exported(event, _context):
        return [start] if event.returncode == 0 else [Shutdown(reason='the export failed')]

    return [
        LogInfo(msg=f'no bundle given: exporting an untrained one to {cached}'),
        export,
        RegisterEventHandler(OnProcessExit(target_action=export, on_exit=exported)),
    ]


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'embodiment',
                default_value='sim_single_arm',
                description='sim_single_arm, sim_dual_arm or sim_mobile',
            ),
            DeclareLaunchArgument(
                'bundle',
                default_value='',
                description='policy bundle; empty: the one that ships with the package',
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in POLICY_ARGUMENTS
            ),
            OpaqueFunction(function=with_bundle),
            Node(
                package='pizero_ros',
                executable='sim_robot',
                name='sim_robot',
                namespace=LaunchConfiguration('namespace'),
                output='screen',
                emulate_tty=True,
                parameters=[
                    {
                        'embodiment': LaunchConfiguration('embodiment'),
                        'publish_clock': ParameterValue(
                            LaunchConfiguration('use_sim_time'), value_type=bool
                        ),
                    }
                ],
                arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
            ),
        ]
    )
