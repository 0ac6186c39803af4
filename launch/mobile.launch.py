"""The policy on a robot with two arms on a mobile base."""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'embodiment',
                default_value='mobile_aloha',
                description='name or YAML file of the robot',
            ),
            IncludeLaunchDescription(
                PathJoinSubstitution(
                    [FindPackageShare('pizero_ros'), 'launch', 'policy.launch.py']
                )
            ),
        ]
    )
