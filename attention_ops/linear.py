"""Linear attention, O(L + S), with sums in float32 whatever the input."""

import torch
from torch import Tensor, nn

from attention_ops.mechanism import Mechanism, flat_heads

NORM_FLOOR = 1e-6  # a query whose keys are all masked would divide by zero


def linear_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None = None
) -> Tensor:
    """Attention with phi(x) = elu(x) + 1 in place of exp (Katharopoulos et al. 2020, sec. 3.2).

    message[l] = phi(q[l]) sum_s phi(k[s]) v[s]^T / (phi(q[l]) . sum_s phi(k[s]) + NORM_FLOOR)

    LoFTR divides the values by S before the sums and multiplies the message by S after, so that
    half precision does not overflow; with sums in float32 the two cancel and are left out.

    Args:
        query: (B, L, M, D).
        key: (B, S, M, D).
        value: (B, S, M, D).
        key_mask: (B, S) bool, True = valid. What lies under it is not read, NaN included.

    Returns:
        (B, L, M, D) in the dtype of the query, zeros in a batch entry without any valid key.
    """
    with torch.autocast(query.device.type, enabled=False):
        wide = torch.promote_types(query.dtype, torch.float32)
        phi_query = nn.functional.elu(query.to(wide)).add(1).transpose(1, 2)  # (B, M, L, D)
        phi_key = nn.functional.elu(key.to(wide)).add(1).transpose(1, 2)  # (B, M, S, D)
        wide_value = value.to(wide).transpose(1, 2)
        if key_mask is not None:
            hidden = ~key_mask[:, None, :, None]
            phi_key = phi_key.masked_fill(hidden, 0)
            wide_value = wide_value.masked_fill(hidden, 0)
        summary = phi_key.mT @ wide_value  # (B, M, D, D)
        norm = phi_query @ phi_key.sum(2)[..., None] + NORM_FLOOR  # (B, M, L, 1)
        message = phi_query @ summary / norm
    return message.transpose(1, 2).to(query.dtype)


class LinearAttention(Mechanism):
    """Attention through one D x D summary of the source per head; see `Mechanism`."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,  # noqa: ARG002  part of the contract
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.attend`."""
        q, k, v = (flat_heads(cells, self.heads) for cells in (query, key, value))
        key_mask = None if source_mask is None else source_mask.flatten(1)
        message = linear_attention(q, k, v, key_mask)
        return message.reshape(query.shape)
