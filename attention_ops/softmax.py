"""Full softmax attention, O(L * S), through PyTorch's fused kernels."""

from torch import Tensor, nn

from attention_ops.mechanism import Mechanism, flat_heads


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None = None
) -> Tensor:
    """Softmax of scaled dot products (Vaswani et al. 2017, eq. 1) over the valid keys.

    Args:
        query: (B, L, M, D).
        key: (B, S, M, D).
        value: (B, S, M, D).
        key_mask: (B, S) bool, True = valid. What lies under it is not read, NaN included.

    Returns:
        (B, L, M, D), zeros in a batch entry without any valid key.
    """
    attend = nn.functional.scaled_dot_product_attention
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if key_mask is None:
        return attend(query, key, value).transpose(1, 2)
    hidden = ~key_mask[:, None, :, None]
    key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
    # Without a valid key every key is let in: their values are zeros by now, so the message is 0
    # and no row of the softmax is empty.
    shown = key_mask | ~key_mask.any(1, keepdim=True)
    return attend(query, key, value, attn_mask=shown[:, None, None, :]).transpose(1, 2)


class SoftmaxAttention(Mechanism):
    """Every cell attends to every cell of the source; see `Mechanism` for the contract."""

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
        message = softmax_attention(q, k, v, key_mask)
        return message.reshape(query.shape)
