"""Which graphs does a pipeline have? One maker for each network, in the order in which they are written."""

from export_flux import flux_graph
from export_options import Graph, Options
from export_text import t5_graph, text_graph
from export_transformer import sd3_graph
from export_unet import unet_graph
from export_vae import tiny_graph, vae_graph

__all__ = ["Graph", "Options", "graph_makers", "text_graph", "tiny_graph", "unet_graph", "vae_graph"]


def graph_makers(parts, options):
    """Functions that describe one graph each: a network is not touched before its turn."""
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        if (model := getattr(parts, name)) is not None:
            make = t5_graph if model.config.model_type == "t5" else text_graph
            yield lambda: make(model, options, name=name)
    second = parts.text_encoder_2
    if parts.unet is not None:
        yield lambda: unet_graph(parts.unet, options, second.config.projection_dim if second is not None else None)
    if parts.transformer is not None:
        make_transformer = flux_graph if type(parts.transformer).__name__.startswith("Flux") else sd3_graph
        yield lambda: make_transformer(parts.transformer, options)
    yield lambda: vae_graph(parts.vae, options, decode=False)
    yield lambda: vae_graph(parts.vae, options, decode=True)
    if parts.tiny is not None:
        yield lambda: tiny_graph(parts.tiny)
