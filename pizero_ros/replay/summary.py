"""The figures of one episode as a JSON-able dictionary.

Every value is plain JSON; ``None`` stands for
a figure that is not defined, and NaN and infinity never occur. Units are raw units of the joints;
``…_share`` is an error divided by the span between a joint's limits (0.01 = one per cent).

Keys (capitals are names: SOURCE is ``policy#SEED`` or one of ``episode.BASELINES``, G a group, J a
joint, LABEL a policy without its seed; H is the horizon)::

    sources:
      SOURCE:
        open_loop:                 absent if the source was not evaluated this way
          queries                  int
          compared                 int, (query, step) pairs for which source and recording have a
                                   value of any joint
          undefined                int, recorded values of joints that the source predicts, but not
                                   here; above 0 for a policy, something is wrong with it
          overall                  mae_share, rmse_share, joints (int, how many are covered),
                                   steps (int, how many of the horizon are covered)
          groups: G                unit, mae, rmse (None where units are mixed), mae_share,
                                   rmse_share, joints (int); G is None if no joint is covered.
                                   rmse is the root of the mean of the joints' mean squares
          joints: J                group, unit, mae, rmse, max, mae_share, rmse_share, count (int);
                                   J is None if the source or the recording lacks the joint
          relative_to_hold         mae_share / that of ``hold``, over the queries, steps and joints
                                   that both have
          by_step                  mae_share [H], joints: J: [H] mae in the joint's unit, or None,
                                   shares: J: mae_share [H], rmse_share [H], count [H], or None
          consistency: G           unit, rms, max (None where units are mixed), rms_share
          grippers: J              see below
        deployed:                  absent if the source was not evaluated this way
          moments                  int, moments that have a recorded action
          undefined                as above; moments before the joint's first value do not count
          overall, groups, joints, relative_to_hold         as above, without steps
          moving_share             share of all moments at which a chunk was executed
          seams: G                 count (int), unit, position, speed, asked: p50, p95, max of
                                   absolute values; only groups of kind ``joint_trajectory``.
                                   position and speed are of what was published (after alignment
                                   and gate), asked is what they had to bridge: new minus old
                                   chunk, as the policy made them
          jerk: G                  unit, rms, recorded_rms, ratio; the same groups
          grippers: J              see below
          chunks: REASON           int
          refused_at_end           int, chunks after the last one that was executed, if the gate
                                   refused any of them
          unanswered               int, inferences that were under way at the end
          restarts                 int, holds that the recording's sensors caused, after which the
                                   imagined robot was put where the recording's is
          interventions: GROUP.REASON    int, all of the gate's
          limit_hits: G            int, those of ``LIMIT_REASONS``
          trajectories_sent        int
          trajectories_rejected: REASON  int
          starvations, observations_refused, deadlines_missed          int
          latency_s                p50, p95, max, from request to arrival of a chunk
          reaction_s               p50, p95, max, from stamp of its observation to its arrival
    seeds: LABEL: open_loop, deployed: mae_share: n (int), mean, std (None for one), min, max
    inputs:
      streams                      list of ``StreamInput`` as dictionaries
      newest_age_s, oldest_age_s, skew_s     p50, p95, max
      refused: REASON              int
    worst                          list, the policy's open-loop queries with the largest error, at
                                   most ``WORST``: source, asked_ns (int), at_s (since the start),
                                   mae_share, joint, error (its mean absolute error), unit

A gripper (J of a column of kind ``gripper``) has threshold, balanced_accuracy, false_open,
false_closed, precision, recall, f1, tolerance_s, events_recorded, events_predicted (int).
*Open* is above the threshold, in raw units.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.replay import metrics
from pizero_ros.replay.error_figures import Compared, figure, spread
from pizero_ros.replay.source_summary import LIMIT_REASONS, deployed_figures, open_loop_figures

if TYPE_CHECKING:
    from pizero_ros.replay.episode import Episode, Inputs

__all__ = ['HOLD', 'LIMIT_REASONS', 'WORST', 'label_of', 'summarise']

HOLD = 'hold'
"""The baseline that ``relative_to_hold`` refers to."""

WORST = 6
"""Number of moments that are listed as the worst."""


def summarise(episode: Episode) -> dict[str, Any]:
    """Return all figures of an episode but its timing.

    Args:
        episode: One recording through one policy, and the baselines.

    Returns:
        The keys above; the same for the same episode, always.
    """
    sources = {
        name: _source(episode, name)
        for name in dict.fromkeys((*episode.open_loop, *episode.deployed))
    }
    return {
        'sources': sources,
        'seeds': _seeds(sources),
        'inputs': _inputs(episode.inputs),
        'worst': _worst(episode),
    }


def label_of(source: str) -> str | None:
    """Return the policy that a source is one seed of, None for a baseline."""
    label, mark, _ = source.rpartition('#')
    return label if mark else None


def _source(episode: Episode, name: str) -> dict[str, Any]:
    columns, rate_hz = episode.columns, episode.rate_hz
    figures: dict[str, Any] = {}
    if name in episode.open_loop:
        hold = episode.open_loop.get(HOLD)
        figures['open_loop'] = open_loop_figures(episode.open_loop[name], hold, columns, rate_hz)
    if name in episode.deployed:
        still = episode.deployed.get(HOLD)
        figures['deployed'] = deployed_figures(episode.deployed[name], still, columns, rate_hz)
    return figures


def _seeds(sources: dict[str, Any]) -> dict[str, Any]:
    """Spread of the overall error over the noise seeds of each policy."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, figures in sources.items():
        label = label_of(name)
        if label is None:
            continue
        for mode, each in figures.items():
            share = each['overall']['mae_share']
            if share is not None:
                found.setdefault(label, {}).setdefault(mode, []).append(share)
    return {
        label: {
            mode: {
                'mae_share': {
                    'n': len(shares),
                    'mean': float(np.mean(shares)),
                    'std': float(np.std(shares, ddof=1)) if len(shares) > 1 else None,
                    'min': min(shares),
                    'max': max(shares),
                }
            }
            for mode, shares in modes.items()
        }
        for label, modes in found.items()
    }


def _inputs(inputs: Inputs) -> dict[str, Any]:
    return {
        'streams': [asdict(stream) for stream in inputs.streams],
        'newest_age_s': spread(inputs.newest_age_s),
        'oldest_age_s': spread(inputs.oldest_age_s),
        'skew_s': spread(inputs.skew_s),
        'refused': dict(sorted(inputs.refused.items())),
    }


def _worst(episode: Episode) -> list[dict[str, Any]]:
    """The moments where the policy's chunks were furthest off, each with its worst seed."""
    found: dict[int, dict[str, Any]] = {}
    for name, chunks in episode.open_loop.items():
        if label_of(name) is None:
            continue
        said = Compared(chunks.asked_ns, chunks.predicted, chunks.recorded)
        for asked_ns, errors in zip(chunks.asked_ns.tolist(), said.errors, strict=True):
            mae = metrics.mean(errors)
            shares = mae / episode.columns.spans
            overall = figure(metrics.mean(shares))
            if overall is None:
                continue
            known = found.get(asked_ns)
            if known is not None and known['mae_share'] >= overall:
                continue
            j = int(np.nanargmax(shares))
            found[asked_ns] = {
                'source': name,
                'asked_ns': asked_ns,
                'at_s': (asked_ns - episode.start_ns) * 1e-9,
                'mae_share': overall,
                'joint': episode.columns.columns[j].name,
                'error': float(mae[j]),
                'unit': episode.columns.columns[j].unit,
            }
    worst = sorted(found.values(), key=lambda each: (-each['mae_share'], each['asked_ns']))
    return worst[:WORST]
