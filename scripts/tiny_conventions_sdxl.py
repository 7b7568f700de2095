"""In which conventions must petal open the tiny SDXL? Used by tiny_conventions.py.

What differs most from SD 1 is how text encoders give the last hidden state but one, which SDXL takes: as one output, as
one of all states, or not at all.
"""

from tiny_conventions_sd1 import demo_vae, diffusers_vae, olive_vae
from tiny_signatures import INT32, TEXT, TEXT_2, UNET, Graph

DATA = "model.onnx.data"
LATENTS = ["sample", "out_sample"]
BESIDE = {"text_embeds": 5, "time_ids": 6}  # what the tiny UNet takes beside states, and how wide


def unet_of(data, batch, *sides):
    """The tiny UNet with these axes."""
    unet = Graph("sdxl", UNET, data).shape("encoder_hidden_states", batch, 77, 10)
    for name in LATENTS:
        unet.shape(name, batch, 4, *sides)
    for name, width in BESIDE.items():
        unet.shape(name, batch, width)
    return unet


def optimum_old():
    """32-bit ids, a timestep of rank 1; of what differs, only the first text encoder is below the limit of 2 GB."""
    first = Graph("sdxl", TEXT, None).ids(INT32)
    second, unet = Graph("sdxl", TEXT_2).ids(INT32), Graph("sdxl", UNET).timesteps("steps")
    return {TEXT: first, TEXT_2: second, UNET: unet}


def first_without_states():
    """The first text encoder as torch writes it that nobody asked for hidden states."""
    first = Graph("sdxl", TEXT, DATA).ids(INT32).outputs("last_hidden_state", "pooler_output")
    first.shape("input_ids", "batch", "sequence")
    return first.shape("last_hidden_state", "batch", "sequence", 4).shape("pooler_output", "batch", 4)


def controlnet():
    """Its script leaves out the second text encoder: that of another export stands beside the rest."""
    unet = unet_of("weights.pb", "2B", "H", "W").timesteps(1).rename("out_sample", "noise_pred")
    return {TEXT: first_without_states(), UNET: unet, **diffusers_vae("sdxl", DATA)}


def demo_text(part, *states):
    """A text encoder that calls its first output `text_embeddings`: the final state, or that of the text as a whole."""
    text = Graph("sdxl", part, DATA).ids(INT32).shape("input_ids", "B", 77)
    width, pooled = (4, False) if part == TEXT else (6, True)
    text.rename("text_embeds" if pooled else "last_hidden_state", "text_embeddings")
    text.rename("hidden_states.1", "hidden_states").shape("hidden_states", "B", 77, width)
    text.shape("text_embeddings", *(["B", 5] if pooled else ["B", 77, width]))
    return text.outputs("text_embeddings", *states)


def demo(suffix, *states):
    """ONNX Runtime's demo, whose optimizer adds the last state but one as an output, and NVIDIA's, where that is the
    name of a value between nodes: TensorRT's parser is told to make it an output."""
    vae, pixels = demo_vae("sdxl", DATA)
    unet = unet_of(DATA, "2B", "H", "W").timesteps(1).rename("out_sample", "latent")
    graphs = {f"clip{number}": demo_text(part, *states) for number, part in [("", TEXT), ("2", TEXT_2)]}
    graphs |= {"unetxl": unet, "vae": vae, "vae_encoder": pixels}
    return {folder + suffix: graph for folder, graph in graphs.items()}


def olive():
    """Its exporter asks no text encoder for hidden states; every width is a free axis, but that of sizes and places."""
    texts = {part: Graph("sdxl", part, DATA) for part in [TEXT, TEXT_2]}
    texts[TEXT].outputs("last_hidden_state", "pooler_output").shape("pooler_output", "batch_size", "hidden_size")
    texts[TEXT_2].outputs("text_embeds", "last_hidden_state").shape("text_embeds", "batch_size", "projection_dim")
    for text in texts.values():
        text.shape("last_hidden_state", "batch_size", "sequence_length", "hidden_size")
    unet = Graph("sdxl", UNET, DATA)
    for name in LATENTS:
        unet.shape(name, "batch_size", "in_channels", "height", "width")
    unet.shape("encoder_hidden_states", "batch_size", "sequence_length", "cross_attention_dim")
    unet.shape("text_embeds", "batch_size", "text_encoder_projection_dim")
    return {**texts, UNET: unet, **olive_vae("sdxl", DATA)}


def recipe_unet():
    """That of Olive's older recipe, which OnnxStack took over: how many sizes and places there are is free too."""
    unet = Graph("sdxl", UNET, DATA).timesteps("unet_time_batch")
    unet.shape("sample", *(f"unet_sample_{axis}" for axis in ["batch", "channels", "height", "width"]))
    unet.shape("encoder_hidden_states", "unet_hidden_batch", "unet_hidden_sequence", 10)
    for name in BESIDE:
        unet.shape(name, f"unet_{name}_batch", f"unet_{name}_size")
    return unet


def olive_recipe():
    vae = diffusers_vae("sdxl", DATA)
    return {TEXT: Graph("sdxl", TEXT, DATA).ids(INT32), UNET: recipe_unet(), **vae}


def amuse():
    """Every state of the second text encoder is an output, and of the first the last one alone."""
    return {TEXT: first_without_states(), UNET: recipe_unet(), **diffusers_vae("sdxl", DATA)}


NO_CONFIGS = tuple(f"{part}/config.json" for part in [TEXT, TEXT_2, UNET, "vae_decoder", "vae_encoder"])
SAMPLED = {"base": "sdxl", "drop": NO_CONFIGS, "encoder": "sampled"}
DEMO = SAMPLED | {"drop": NO_CONFIGS + ("model_index.json",)}
SDXL = {  # as SD1 in tiny_conventions_sd1.py
    "sdxl-optimum-old": (
        "optimum before 1.24: 32-bit ids, a timestep of rank 1, no configuration of the autoencoder", optimum_old,
        {"base": "sdxl", "drop": ("vae_decoder/config.json", "vae_encoder/config.json")},
    ),
    "sdxl-controlnet-script": (
        "diffusers' convert_stable_diffusion_controlnet_to_onnx.py --sd_xl, without ControlNets", controlnet, SAMPLED,
    ),
    "sdxl-onnxruntime": (
        "the demo of onnxruntime/transformers/models/stable_diffusion in 32 bits",
        lambda: demo(".ort_cuda", "hidden_states"), DEMO,
    ),
    "sdxl-olive": ("Olive's io_configs/diffusers.yaml: no hidden states", olive, {"base": "sdxl", "drop": NO_CONFIGS}),
    "sdxl-olive-recipe": ("Olive's older recipe for DirectML: the number of sizes is open", olive_recipe, SAMPLED),
    "sdxl-amuse": ("OnnxStack's converter: hidden states of the second text encoder alone", amuse, SAMPLED),
    "sdxl-batch-1": ("one row at a time", lambda: {UNET: unet_of(DATA, 1, "height", "width")}, {"within": 1}),
    "sdxl-batch-2": ("two rows at a time", lambda: {UNET: unet_of(DATA, 2, "height", "width")}, {}),
    "sdxl-nvidia": ("NVIDIA's demo/Diffusion: the second text encoder gives no states", lambda: demo(".opt"), DEMO),
}  # fmt: skip
for _, _, options in SDXL.values():
    options.setdefault("base", "sdxl")
