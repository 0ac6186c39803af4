"""The planner alone: it tells the policy node beside it one prompt after the other.

When the planner ends, everything ends: nobody would end the subtask that the policy is at.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = (
    ('planner', 'script', 'script, human or vlm'),
    ('script', '', 'name or YAML file with prompts and tasks; required but for human'),
    ('instruction', '', 'long instruction, begun once the policy is active'),
    # Empty, so that what nobody gives does not beat the file of parameters.
    ('embodiment', '', 'name or YAML file of the robot; its cameras are what a model sees'),
    ('policy', '', 'name of the policy node, policy_node by default'),
    ('verdict_topic', '', 'topic that says how a subtask ended, ~/verdict by default'),
    ('subtask_limit_s', '', 'limit of each subtask of human and vlm, 60 by default'),
    ('vlm_url', '', 'endpoint of the model, as http://localhost:8000/v1'),
    ('vlm_model', '', 'name of the model at the endpoint'),
    ('vlm_key_variable', '', 'environment variable that holds the key; empty: no key'),
    ('planner_params_file', '', 'YAML of any parameters of the node; arguments given win'),
    ('namespace', '', 'namespace of the node'),
    ('use_sim_time', '', 'true: follow /clock'),
    ('log_level', 'info', 'debug, info, warn, error'),
)

PARAMETERS = {
    'planner': str,
    'script': str,
    'instruction': str,
    'embodiment': str,
    'policy': str,
    'verdict_topic': str,
    'subtask_limit_s': float,
    'vlm_url': str,
    'vlm_model': str,
    'vlm_key_variable': str,
    'use_sim_time': bool,
}


def ended(_event, context):
    """End everything, unless it is ending already."""
    return None if context.is_shutdown else [Shutdown(reason='the planner ended')]


def planner_node(context):
    """The node; arguments that were given win over the parameters of planner_params_file."""
    params_file = LaunchConfiguration('planner_params_file').perform(context)
    arguments = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in PARAMETERS.items()
        if LaunchConfiguration(name).perform(context)
    }
    return [
        Node(
            package='pizero_ros',
            executable='planner_node',
            name='planner_node',
            namespace=LaunchConfiguration('namespace'),
            output='screen',
            emulate_tty=True,
            parameters=[*([params_file] if params_file else []), arguments],
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
            on_exit=ended,
        )
    ]


def generate_launch_description():
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            OpaqueFunction(function=planner_node),
        ]
    )
