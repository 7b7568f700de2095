"""How is attention traced, so that its graph is short and holds for every batch, size and length?"""

import torch



class Reshape(torch.autograd.Function):
    """ONNX's Reshape with a constant shape, where 0 copies an axis: four nodes fewer than torch's own trace."""

    @staticmethod
    def forward(ctx, x, shape):
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])

    @staticmethod
    def symbolic(g, x, shape):
        node = g.op("Reshape", x, g.op("Constant", value_t=torch.tensor(shape)))
        return node.setType(x.type().with_sizes([None] * len(shape)))


class FusedAttention(torch.autograd.Function):
    """Attention as one node: no score matrix is ever stored. ONNX Runtime only."""

    @staticmethod
    def forward(ctx, query, key, value, heads, scale):
        query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scale)
        return out.transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(g, query, key, value, heads, scale):
        node = g.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads, scale_f=scale)
        return node.setType(query.type())


def plain_attention(query, key, value, heads, scale, upcast):
    """Attention in ONNX's own operators; the scale is applied to the small side."""
    dtype = value.dtype
    query, key, value = (Reshape.apply(x, [0, 0, heads, -1]) for x in (query * scale, key, value))
    query, key, value = query.permute(0, 2, 1, 3), key.permute(0, 2, 3, 1), value.permute(0, 2, 1, 3)
    if upcast:
        query, key = query.float(), key.float()
    out = torch.softmax(query @ key, dim=-1).to(dtype) @ value  # [batch, heads, tokens, channels]
    return Reshape.apply(out.permute(0, 2, 1, 3), [0, 0, -1])


def attend(query, key, value, heads, scale, fused, upcast=False):
    """Attention of `[batch, tokens, heads * channels]`."""
    if fused:
        return FusedAttention.apply(query, key, value, heads, scale)
    return plain_attention(query, key, value, heads, scale, upcast)


class Attention:
    """A diffusers attention processor whose trace is short and independent of batch, size and length."""

    def __init__(self, fused):
        self.fused = fused

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        if attention_mask is not None or attn.norm_q is not None or attn.spatial_norm is not None:
            raise ValueError("this attention layer is not of the Stable Diffusion 1.x / 2.x kind")
        residual, shape = hidden_states, hidden_states.shape
        if len(shape) == 4:
            hidden_states = Reshape.apply(hidden_states, [0, 0, -1]).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        out = attend(query, key, value, attn.heads, float(attn.scale), self.fused, attn.upcast_attention)
        out = attn.to_out[0](out)
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor


def rms_norm(x, weight, epsilon):
    """Root mean square norm, written as ONNX Runtime recognizes it; the sum is of 32 bits."""
    wide = x.float()
    out = (wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)
    return out if weight is None else out * weight


def norm_heads(x, norm, heads):
    """`norm` over the channels of each head, for `[batch, tokens, heads * channels]`."""
    if norm is None:
        return x
    x = Reshape.apply(x, [0, 0, heads, -1])
    return Reshape.apply(rms_norm(x, norm.weight, norm.eps), [0, 0, -1])


class JointAttention:
    """A diffusers attention processor for transformers whose pictures and prompts look at each other.

    `prompt_first`: in which order their tokens stand. `rotate`: what is done with queries and keys, by their places.
    """

    def __init__(self, fused, prompt_first=False, rotate=None):
        self.fused, self.prompt_first, self.rotate = fused, prompt_first, rotate

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        if attention_mask is not None:
            raise ValueError("attention with a mask cannot be exported")
        found = [attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)]
        found[:2] = [norm_heads(x, norm, attn.heads) for x, norm in zip(found, (attn.norm_q, attn.norm_k))]
        if encoder_hidden_states is not None:
            prompt = [project(encoder_hidden_states) for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)]
            norms = attn.norm_added_q, attn.norm_added_k
            prompt[:2] = [norm_heads(x, norm, attn.heads) for x, norm in zip(prompt, norms)]
            pairs = zip(prompt, found) if self.prompt_first else zip(found, prompt)
            found = [torch.cat(pair, dim=1) for pair in pairs]
        query, key, value = found  # [batch, tokens, heads * channels]
        if image_rotary_emb is not None:
            query, key = (self.rotate(x, image_rotary_emb, attn.heads) for x in (query, key))
        scale = float(attn.scale) if hasattr(attn, "scale") else attn.head_dim**-0.5
        out = attend(query, key, value, attn.heads, scale, self.fused)
        if encoder_hidden_states is None:
            return attn.to_out[0](out) if hasattr(attn, "to_out") else out
        if self.prompt_first:
            prompt, out = out[:, : encoder_hidden_states.shape[1]], out[:, encoder_hidden_states.shape[1] :]
        else:
            out, prompt = out[:, : hidden_states.shape[1]], out[:, hidden_states.shape[1] :]
        return attn.to_out[0](out), prompt if attn.context_pre_only else attn.to_add_out(prompt)
