"""From the planner node's parameters to a planner; the only place that reads the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.errors import PlannerError
from pizero_ros.planner.chat import ChatClient
from pizero_ros.planner.http_post import parse_endpoint
from pizero_ros.planner.human import HumanPlanner
from pizero_ros.planner.script import ScriptPlanner
from pizero_ros.planner.script_file import load_script
from pizero_ros.planner.vlm import VlmJudge, VlmPlanner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pizero_ros.nodes.planner_parameters import PlannerParameters
    from pizero_ros.planner.plan import Planner

COMPLETIONS = '/chat/completions'


def make_planner(
    chosen: PlannerParameters,
    environment: Mapping[str, str],
    where: str,
    warn: Callable[[str], object],
) -> Planner:
    """Make the planner that was chosen.

    Args:
        chosen: The node's parameters.
        environment: Holds the key.
        where: Names the parameters in errors.
        warn: Takes what is unusual.

    Raises:
        PlannerError: The script is wrong, the address is none, or the key is not there.
    """
    script = load_script(chosen.script) if chosen.script else None
    client = _client(chosen, environment, where, warn)
    if chosen.planner == 'human':
        return HumanPlanner(chosen.subtask_limit_s, script.prompts if script else ())
    if script is None:
        msg = f'{chosen.planner} without a script'
        raise ValueError(msg)
    if chosen.planner == 'script':
        judge = None if client is None else VlmJudge(client, chosen.vlm_image_side)
        return ScriptPlanner(script, judge, chosen.look_period_s)
    if client is None:
        msg = 'vlm without an endpoint'
        raise ValueError(msg)
    return VlmPlanner(
        client,
        script.prompts,
        limit_s=chosen.subtask_limit_s,
        period_s=chosen.look_period_s,
        longest_side=chosen.vlm_image_side,
    )


def _client(
    chosen: PlannerParameters,
    environment: Mapping[str, str],
    where: str,
    warn: Callable[[str], object],
) -> ChatClient | None:
    if chosen.chat is None:
        return None
    endpoint = parse_endpoint(chosen.vlm_url, COMPLETIONS, where, 'vlm_url')
    key = _key(chosen.vlm_key_variable, environment, where)
    if key and not endpoint.secure and not endpoint.on_this_machine:
        warn(f'{chosen.vlm_url}: the key is sent over the network in the clear; use https')
    return ChatClient(endpoint, chosen.chat, key)


def _key(variable: str, environment: Mapping[str, str], where: str) -> str:
    """Return the key; errors name its variable, never what is in it."""
    if not variable:
        return ''
    key = environment.get(variable, '').strip()
    if not key or not key.isascii() or not key.isprintable():
        raise PlannerError.at(
            where,
            'vlm_key_variable',
            found=f'{variable}, which is {"no printable text" if key else "not set"}',
            expected='an environment variable that holds the key',
            remedy=f'Start the node with it: `export {variable}=…`. Empty: no key is sent.',
        )
    return key
