"""What the VLM says after the prompt, as PaliGemma does: the expert has no part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from pizero_ros.model.attention import attend, positions, rotary_frequencies, rotations, visible

if TYPE_CHECKING:
    from pizero_ros.model.pi0 import Conditioning, Pi0


def answer_logits(
    policy: Pi0, seen: Conditioning, answer: torch.Tensor, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute how likely each token of an answer is after those before it.

    Pictures and prompt see each other, a token of the answer sees them and the tokens before it,
    and what is masked is as if it were left out. A token is read off the last valid one before it:
    the first one off the end of the prompt. The head is the token embedding, as in Gemma.

    Args:
        policy: The policy; only pictures, prompt and the VLM's stack have a part.
        seen: Pictures, prompt and masks of B samples; the state does not matter.
        answer: int64 [B, T], tokens; T is at least 1.
        valid: bool [B, T], False at tokens to leave out, whose logits mean nothing; ``None`` where
            all count.

    Returns:
        float32 [B, T, vocabulary].
    """
    return _logits(policy, policy.embed_prefix(seen.images, seen.tokens), seen, answer, valid)


@torch.no_grad()
def likeliest_answer(
    policy: Pi0, seen: Conditioning, valid: torch.Tensor, ids: slice
) -> torch.Tensor:
    """Let the VLM answer, each time with the likeliest token after those that it said.

    Args:
        policy: The policy.
        seen: Pictures, prompt and masks of B samples.
        valid: bool [B, T], False at tokens to leave out.
        ids: Tokens that an answer may be made of.

    Returns:
        int64 [B, T].
    """
    prefix = policy.embed_prefix(seen.images, seen.tokens)
    answer = torch.zeros_like(valid, dtype=torch.int64)
    for said in range(valid.shape[1]):
        upto = slice(said + 1)
        logits = _logits(policy, prefix, seen, answer[:, upto], valid[:, upto])
        answer[:, said] = logits[:, said, ids].argmax(-1) + (ids.start or 0)
    return answer


def _logits(
    policy: Pi0,
    prefix: torch.Tensor,
    seen: Conditioning,
    answer: torch.Tensor,
    valid: torch.Tensor | None,
) -> torch.Tensor:
    """Do what ``answer_logits`` does, from the embedded prefix."""
    vlm, length, said = policy.vlm, prefix.shape[1], answer.shape[1] - 1
    tokens = policy.valid_tokens(seen)
    if tokens is None:
        tokens = torch.ones(len(prefix), length + 1, dtype=torch.bool, device=prefix.device)
    if valid is None:
        valid = torch.ones_like(answer, dtype=torch.bool)
    # The state token, which comes last, is the expert's.
    everything = torch.cat((tokens[:, :-1], valid), dim=1)
    reader = _valid_before(everything)[:, length:]
    # The last token of the answer is asked for, and read by none.
    fed = everything[:, : length + said]
    x = torch.cat((prefix, vlm.embed(answer[:, :said]).to(prefix.dtype)), dim=1)
    order = torch.arange(1, said + 1, device=x.device)
    groups = torch.cat((torch.zeros(length, dtype=order.dtype, device=x.device), order))
    allowed, place = visible(groups, fed), positions(fed)
    frequencies = rotary_frequencies(policy.architecture.vlm.head_dim)
    rotation = rotations(place, frequencies)
    for block in vlm.blocks[:-1]:
        normed = block.normed(x)
        key, value = block.key_value(normed, rotation)
        x = block.finish(x, attend(block.query(normed, rotation), key, value, allowed))
    # Of the last layer only the tokens count off which the answer is read.
    block = vlm.blocks[-1]
    normed = block.normed(x)
    key, value = block.key_value(normed, rotation)
    query = block.query(_rows(normed, reader), rotations(place.gather(1, reader), frequencies))
    x = block.finish(_rows(x, reader), attend(query, key, value, _rows(allowed, reader)))
    logits = functional.linear(vlm.norm(x), vlm.embed_tokens.weight)
    return logits.float()


def _valid_before(valid: torch.Tensor) -> torch.Tensor:
    """Return for each token of [B, S] the number of the last valid one before it, at least 0."""
    numbers = torch.arange(valid.shape[1], device=valid.device)
    latest = torch.where(valid, numbers, 0).cummax(dim=1).values
    return functional.pad(latest[:, :-1], (1, 0))


def _rows(x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Pick the tokens int64 [B, T] out of [B, S, width]."""
    return x.gather(1, numbers[..., None].expand(-1, -1, x.shape[-1]))
