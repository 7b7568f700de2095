"""What is traced of text encoders? CLIP's, with and without projection, and T5's, each for every batch and length."""

import types

import torch

from export_attention import rms_norm
from export_options import Graph


def clip_forward(self, input_ids):
    """CLIP's text model with a causal mask that follows the sequence length: last state, pooled state, all states."""
    hidden = self.embeddings(input_ids=input_ids)  # [batch, tokens, width]
    ones = torch.ones(input_ids.shape[1], input_ids.shape[1], dtype=torch.int32)
    mask = (1 - ones.tril()).to(hidden.dtype) * torch.finfo(hidden.dtype).min
    states = self.encoder(inputs_embeds=hidden, attention_mask=mask[None, None])
    hidden = self.final_layer_norm(states[-1])
    ids = input_ids.to(torch.int32)
    eos = self.config.eos_token_id  # 2 in old configs: then the end of text is the greatest id
    last = ids.argmax(-1) if eos == 2 else (ids == eos).to(torch.int32).argmax(-1)
    pooled = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
    return hidden, pooled, states


def layers_forward(self, inputs_embeds, attention_mask):
    """The states before, between and after the layers."""
    states = [inputs_embeds]
    for layer in self.layers:
        states.append(layer(states[-1], attention_mask))
    return states


class TextEncoder(torch.nn.Module):
    """Gives the weights and nodes the `text_model.` prefix that tools expect and transformers 5 dropped."""

    def __init__(self, model, hidden_states):
        super().__init__()
        self.text_model = getattr(model, "text_model", model)
        self.text_projection = getattr(model, "text_projection", None)
        self.hidden_states = hidden_states

    def reference(self, input_ids):
        found = self.text_model(input_ids, output_hidden_states=True)
        return self.results(found.last_hidden_state, found.pooler_output, found.hidden_states)

    def results(self, last, pooled, states):
        """In optimum's order: a projection replaces the pooled state and comes first."""
        first = [last, pooled] if self.text_projection is None else [self.text_projection(pooled), last]
        return [*first, *(states if self.hidden_states else [])]

    def names(self):
        first = ["last_hidden_state", "pooler_output"]
        if self.text_projection is not None:
            first = ["text_embeds", "last_hidden_state"]
        count = len(self.text_model.encoder.layers) + 1 if self.hidden_states else 0
        return [*first, *(f"hidden_states.{i}" for i in range(count))]

    def patch(self):
        self.text_model.config._attn_implementation = "eager"
        self.text_model.forward = types.MethodType(clip_forward, self.text_model)
        self.text_model.encoder.forward = types.MethodType(layers_forward, self.text_model.encoder)

    def forward(self, input_ids):
        return tuple(self.results(*self.text_model(input_ids)))


def text_axes(outputs):
    pooled = ("pooler_output", "text_embeds")
    both = {0: "batch_size", 1: "sequence_length"}
    return {"input_ids": both} | {name: {0: "batch_size"} if name in pooled else both for name in outputs}


def text_graph(model, options, name="text_encoder"):
    config, dtype = model.config, getattr(torch, options.ids)
    random = torch.Generator().manual_seed(0)

    def ids(batch, length):
        tokens = torch.randint(3, config.vocab_size - 2, (batch, length), generator=random, dtype=dtype)
        tokens[:, length // 2 :] = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
        return {"input_ids": tokens}

    longest = config.max_position_embeddings
    module, checks = TextEncoder(model, options.hidden_states), [ids(1, longest), ids(3, min(9, longest))]
    reference = lambda inputs: module.reference(**inputs)
    outputs = module.names()
    example = ids(2, min(7, longest))
    return Graph(name, module, reference, module.patch, example, checks, outputs, text_axes(outputs))


def t5_forward(self, input_ids):
    """T5's encoder without a mask: what diffusers asks of it."""
    hidden, bias = self.embed_tokens(input_ids), None  # [batch, tokens, width]
    for block in self.block:
        hidden, bias, _ = block(hidden, None, bias)
    return self.final_layer_norm(hidden)


def t5_norm(self, hidden_states):
    return rms_norm(hidden_states, self.weight, self.variance_epsilon)


class T5Encoder(torch.nn.Module):
    """T5's encoder, whose weights and nodes have the prefix `encoder.`."""

    def __init__(self, model):
        super().__init__()
        self.encoder, self.model = model.encoder, [model]  # a list: its weights are those of `encoder`

    def patch(self):
        self.encoder.config._attn_implementation = "eager"
        self.encoder.forward = types.MethodType(t5_forward, self.encoder)
        for module in self.encoder.modules():
            if type(module).__name__ == "T5LayerNorm":
                module.forward = types.MethodType(t5_norm, module)

    def forward(self, input_ids):
        return self.encoder(input_ids)


def t5_graph(model, options, name):
    config, random = model.config, torch.Generator().manual_seed(4)
    dtype = getattr(torch, options.ids)

    def ids(batch, length):
        tokens = torch.randint(3, config.vocab_size, (batch, length), generator=random, dtype=dtype)
        tokens[:, length // 2] = 1  # the end; padding behind it
        tokens[:, length // 2 + 1 :] = 0
        return {"input_ids": tokens}

    module, outputs = T5Encoder(model), ["last_hidden_state"]
    reference = lambda inputs: [model(**inputs).last_hidden_state]
    checks = [ids(1, 256), ids(3, 5), ids(1, 77)]
    return Graph(name, module, reference, module.patch, ids(2, 9), checks, outputs, text_axes(outputs))
