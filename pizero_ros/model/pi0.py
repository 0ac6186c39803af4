"""The π0 policy: what it sees becomes a cache once, then a flow turns noise into actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from pizero_ros.model.attention import attend, positions, rotary_frequencies, rotations, visible
from pizero_ros.model.flow_time import embed_time, euler_grid
from pizero_ros.model.gemma import Gemma
from pizero_ros.model.random_weights import fill_random
from pizero_ros.model.siglip import Projector, VisionTower

if TYPE_CHECKING:
    from pizero_ros.model.architecture import Architecture


class Conditioning(NamedTuple):
    """What the policy acts upon, in model space.

    An absent camera or a pad token is either left out or masked, with the same result; both
    masks ``None`` means that everything given is valid.

    Attributes:
        images: float32 [B, N, 3, H, W] in [-1, 1], cameras in slot order.
        tokens: int64 [B, L], the prompt.
        state: float32 [B, S], normalised and zero-padded.
        camera_mask: bool [B, N], False where a camera is absent.
        token_mask: bool [B, L], False at pads.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    state: torch.Tensor
    camera_mask: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None


class Cache(NamedTuple):
    """Keys and values of the prefix and of the state token, which no action can change.

    Attributes:
        keys: Per layer, rotated, [B, kv_heads, P, head_dim].
        values: Per layer, [B, kv_heads, P, head_dim].
        valid: bool [B, P], or ``None`` where all of it is.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    valid: torch.Tensor | None = None


class _PaliGemmaModel(nn.Module):
    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.vision_tower = VisionTower(sizes.vision)
        self.multi_modal_projector = Projector(sizes.vision.width, sizes.vlm.width)
        self.language_model = Gemma(sizes.vlm, sizes.vocabulary)


class _PaliGemma(nn.Module):
    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.model = _PaliGemmaModel(sizes)


class _GemmaExpert(nn.Module):
    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.model = Gemma(sizes.expert)


class _PaliGemmaWithExpert(nn.Module):
    """Only carries the names of the checkpoints."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.paligemma = _PaliGemma(sizes)
        self.gemma_expert = _GemmaExpert(sizes)


class Pi0(nn.Module):
    """π0 with openpi's parameter names (pi0.md sections 1 and 4.1), lm_heads left out."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self._frequencies = rotary_frequencies(architecture.vlm.head_dim)
        width = architecture.expert.width
        self.paligemma_with_expert = _PaliGemmaWithExpert(architecture)
        self.state_proj = nn.Linear(architecture.state_dim, width)
        self.action_in_proj = nn.Linear(architecture.action_dim, width)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)
        self.action_out_proj = nn.Linear(width, architecture.action_dim)

    @classmethod
    def random(cls, architecture: Architecture, seed: int) -> Pi0:
        """Build a policy with random weights that depend on nothing but sizes and seed.

        Args:
            architecture: The sizes.
            seed: Seed of the weights.

        Returns:
            The policy, in evaluation mode, float32 on the CPU.
        """
        with torch.device('meta'):
            model = cls(architecture)
        model.to_empty(device='cpu')
        fill_random(model, seed)
        return model.eval()

    @property
    def vision_tower(self) -> VisionTower:
        """The image tower."""
        return self.paligemma_with_expert.paligemma.model.vision_tower

    @property
    def vlm(self) -> Gemma:
        """The stack that reads images and prompt."""
        return self.paligemma_with_expert.paligemma.model.language_model

    @property
    def expert(self) -> Gemma:
        """The stack that reads state and actions."""
        return self.paligemma_with_expert.gemma_expert.model

    def embed_prefix(self, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Embed cameras, then prompt; all views go through the tower as one batch.

        Args:
            images: float32 [B, N, 3, H, W] in [-1, 1].
            tokens: int64 [B, L].

        Returns:
            [B, N * tokens per camera + L, vlm width].
        """
        return self.join(self.embed_views(images.flatten(0, 1)), tokens)

    def embed_views(self, images: torch.Tensor) -> torch.Tensor:
        """Embed pictures float32 [N, 3, H, W] as [N, tokens per camera, vlm width]."""
        paligemma = self.paligemma_with_expert.paligemma.model
        views: torch.Tensor = paligemma.multi_modal_projector(paligemma.vision_tower(images))
        return views

    def join(self, views: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Put embedded views before the prompt int64 [B, L], as ``embed_prefix`` returns them."""
        seen = views.reshape(tokens.shape[0], -1, views.shape[-1])
        words = self.vlm.embed(tokens)
        return torch.cat((seen.to(words.dtype), words), dim=1)

    def embed_state(self, state: torch.Tensor) -> torch.Tensor:
        """Embed the state float32 [B, S] as one token [B, 1, expert width]."""
        token: torch.Tensor = self.state_proj(state.to(self.state_proj.weight.dtype))
        return token[:, None].to(self.expert.dtype)

    def embed_actions(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed noisy actions, each with its own flow time.

        Args:
            x_t: float32 [B, H, A].
            t: float32 [B, H].

        Returns:
            [B, H, expert width].
        """
        sizes = self.architecture
        time = embed_time(t, sizes.expert.width, sizes.min_period, sizes.max_period)
        action: torch.Tensor = self.action_in_proj(x_t.to(self.action_in_proj.weight.dtype))
        mixed = self.action_time_mlp_in(torch.cat((action, time.to(action.dtype)), dim=-1))
        token: torch.Tensor = self.action_time_mlp_out(functional.silu(mixed))
        return token.to(self.expert.dtype)

    def observe(self, seen: Conditioning) -> Cache:
        """Run what does not depend on the flow once: the prefix and the state token.

        Of the last layer only keys and values are computed; nothing else of it reaches an action.

        Args:
            seen: Images, prompt and state.

        Returns:
            The cache that ``denoise`` reads.
        """
        return self.observe_prefix(self.embed_prefix(seen.images, seen.tokens), seen)

    def observe_prefix(self, prefix: torch.Tensor, seen: Conditioning) -> Cache:
        """Do what ``observe`` does, from the embedded prefix; of ``seen`` state and masks count.

        Args:
            prefix: What ``embed_prefix`` returned.
            seen: Prompt, state and masks.

        Returns:
            The cache that ``denoise`` reads.
        """
        state = self.embed_state(seen.state)
        length = prefix.shape[1]
        valid = self.valid_tokens(seen)
        if valid is None:
            order = torch.arange(length + 1, device=prefix.device)[None]
            prefix_sees = state_sees = None
        else:
            order = positions(valid)
            prefix_sees = visible(torch.zeros_like(order[0, :-1]), valid[:, :-1])
            state_sees = valid[:, None, :]
        rotation = rotations(order, self._frequencies)
        for_prefix = (rotation[0][:, :, :length], rotation[1][:, :, :length])
        for_state = (rotation[0][:, :, length:], rotation[1][:, :, length:])
        keys, values = [], []
        last = self.architecture.vlm.depth - 1
        for i, (vlm, expert) in enumerate(zip(self.vlm.blocks, self.expert.blocks, strict=True)):
            prefix_in, state_in = vlm.normed(prefix), expert.normed(state)
            prefix_key, prefix_value = vlm.key_value(prefix_in, for_prefix)
            state_key, state_value = expert.key_value(state_in, for_state)
            keys.append(torch.cat((prefix_key, state_key), dim=2))
            values.append(torch.cat((prefix_value, state_value), dim=2))
            if i == last:
                break
            query = vlm.query(prefix_in, for_prefix)
            prefix = vlm.finish(prefix, attend(query, prefix_key, prefix_value, prefix_sees))
            query = expert.query(state_in, for_state)
            state = expert.finish(state, attend(query, keys[-1], values[-1], state_sees))
        return Cache(tuple(keys), tuple(values), valid)

    def denoise(self, cache: Cache, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Compute the velocity of every action at its flow time.

        Args:
            cache: What ``observe`` returned; or of B / K samples, whose K chunks are side by side,
                with ``valid`` repeated for each chunk.
            x_t: float32 [B, H, A], noisy actions.
            t: float32 [B, H], flow time per action, 1 at noise.

        Returns:
            float32 [B, H, A], the velocity noise − action.
        """
        actions = self.embed_actions(x_t, t)
        ahead = torch.arange(actions.shape[1], device=actions.device)[None]
        if cache.valid is None:
            order, allowed = ahead + cache.keys[0].shape[2], None
        else:
            order = ahead + cache.valid.sum(dim=1, keepdim=True)
            everything = functional.pad(cache.valid, (0, actions.shape[1]), value=True)
            allowed = everything[:, None, :].expand(-1, actions.shape[1], -1)
        rotation = rotations(order, self._frequencies)
        for block, past_key, past_value in zip(
            self.expert.blocks, cache.keys, cache.values, strict=True
        ):
            actions_in = block.normed(actions)
            key, value = block.key_value(actions_in, rotation)
            key, value = _behind(past_key, key), _behind(past_value, value)
            query = block.query(actions_in, rotation)
            actions = block.finish(actions, attend(query, key, value, allowed))
        return self._velocity(actions)

    def sample(self, seen: Conditioning, noise: torch.Tensor, steps: int = 10) -> torch.Tensor:
        """Turn noise into actions with Euler steps on the exact grid.

        Args:
            seen: Images, prompt and state.
            noise: float32 [B, H, A], standard normal, padded values included.
            steps: Euler steps.

        Returns:
            float32 [B, H, A], actions in model space.
        """
        cache = self.observe(seen)
        x_t = noise.float()
        dt = torch.tensor(-1.0 / steps, dtype=torch.float32, device=x_t.device)
        for time in euler_grid(steps):
            t = torch.full(x_t.shape[:2], time, dtype=torch.float32, device=x_t.device)
            x_t = x_t + dt * self.denoise(cache, x_t, t)
        return x_t

    def velocity_joint(
        self, seen: Conditioning, x_t: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """Compute the velocity in one pass over prefix, state and actions, as training does.

        Args:
            seen: Images, prompt and state.
            x_t: float32 [B, H, A].
            t: float32 [B, H].

        Returns:
            float32 [B, H, A], equal to ``denoise(observe(seen), x_t, t)``.
        """
        prefix = self.embed_prefix(seen.images, seen.tokens)
        suffix = torch.cat((self.embed_state(seen.state), self.embed_actions(x_t, t)), dim=1)
        length, horizon = prefix.shape[1], x_t.shape[1]
        valid = self.valid_tokens(seen)
        if valid is None:
            valid = torch.ones(prefix.shape[0], length + 1, dtype=torch.bool, device=prefix.device)
        valid = functional.pad(valid, (0, horizon), value=True)
        groups = torch.tensor([0] * length + [1] + [2] * horizon, device=prefix.device)
        allowed = visible(groups, valid)
        rotation = rotations(positions(valid), self._frequencies)
        for_prefix = (rotation[0][:, :, :length], rotation[1][:, :, :length])
        for_suffix = (rotation[0][:, :, length:], rotation[1][:, :, length:])
        last = self.architecture.vlm.depth - 1
        for i, (vlm, expert) in enumerate(zip(self.vlm.blocks, self.expert.blocks, strict=True)):
            prefix_in, suffix_in = vlm.normed(prefix), expert.normed(suffix)
            query = (vlm.query(prefix_in, for_prefix), expert.query(suffix_in, for_suffix))
            prefix_key, prefix_value = vlm.key_value(prefix_in, for_prefix)
            suffix_key, suffix_value = expert.key_value(suffix_in, for_suffix)
            attended = attend(
                torch.cat(query, dim=2),
                torch.cat((prefix_key, suffix_key), dim=2),
                torch.cat((prefix_value, suffix_value), dim=2),
                allowed,
            )
            if i != last:
                prefix = vlm.finish(prefix, attended[:, :length])
            suffix = expert.finish(suffix, attended[:, length:])
        return self._velocity(suffix[:, 1:])

    def losses(
        self, seen: Conditioning, actions: torch.Tensor, noise: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """Compute the flow-matching loss of each value.

        Args:
            seen: Images, prompt and state.
            actions: float32 [B, H, A], normalised and zero-padded.
            noise: float32 [B, H, A], standard normal.
            t: float32 [B] or, for a flow time per action, [B, H].

        Returns:
            float32 [B, H, A], squared error of the velocity.
        """
        per_action = t[:, None].expand(actions.shape[:2]) if t.ndim == 1 else t
        share = per_action[..., None]
        x_t = share * noise + (1.0 - share) * actions
        return (noise - actions - self.velocity_joint(seen, x_t, per_action)).square()

    def loss(
        self, seen: Conditioning, actions: torch.Tensor, noise: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """Mean of ``losses`` over all values, padded ones included, as openpi takes it."""
        return self.losses(seen, actions, noise, t).mean()

    def _velocity(self, actions: torch.Tensor) -> torch.Tensor:
        """Read the velocity off the expert's last action tokens."""
        head = self.action_out_proj
        velocity: torch.Tensor = head(self.expert.norm(actions).to(head.weight.dtype))
        return velocity.float()

    def valid_tokens(self, seen: Conditioning) -> torch.Tensor | None:
        """Say which cached tokens are real, bool [B, P]; the state token always is."""
        if seen.camera_mask is None and seen.token_mask is None:
            return None
        device = seen.tokens.device
        cameras = seen.camera_mask
        if cameras is None:
            cameras = torch.ones(seen.images.shape[:2], dtype=torch.bool, device=device)
        words = seen.token_mask
        if words is None:
            words = torch.ones(seen.tokens.shape, dtype=torch.bool, device=device)
        patches = cameras.repeat_interleave(self.architecture.vision.tokens, dim=1)
        return functional.pad(torch.cat((patches, words), dim=1), (0, 1), value=True)


def _behind(past: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Put the actions' keys or values behind those of the cache, which is copied only here."""
    if past.shape[0] == new.shape[0]:
        return torch.cat((past, new), dim=2)
    apart = torch.unflatten(new, 0, (past.shape[0], -1))
    each = past[:, None].expand(-1, apart.shape[1], -1, -1, -1)
    return torch.cat((each, apart), dim=3).flatten(0, 1)
