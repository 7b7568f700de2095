"""In which conventions must petal open the tiny SD 1? Used by tiny_conventions.py."""

from tiny_signatures import DECODER, ENCODER, FLOAT, HALF, INT32, INT64, TEXT, UNET, Graph


def diffusers_unet(data="weights.pb"):
    unet = Graph("sd1", UNET, data).timesteps("batch").kind("timestep", INT64)
    unet.shape("sample", "batch", "channels", "height", "width")
    return unet.shape("encoder_hidden_states", "batch", "sequence", 16)


def diffusers_vae(base="sd1", data="weights.pb"):
    axes = ["batch", "channels", "height", "width"]
    decoder = Graph(base, DECODER, data).shape("latent_sample", *axes)
    return {DECODER: decoder, ENCODER: Graph(base, ENCODER, data).sampled().shape("sample", *axes)}


def diffusers():
    return {UNET: diffusers_unet(), **diffusers_vae()}


def controlnet():
    unet = Graph("sd1", UNET, "weights.pb").timesteps(1).rename("out_sample", "noise_pred")
    unet.shape("sample", "2B", 4, "H", "W").shape("encoder_hidden_states", "2B", 77, 16)
    return {UNET: unet.shape("noise_pred", "2B", 4, "H", "W"), **diffusers_vae()}


def demo_vae(base, data):
    """Its decoder and its encoder."""
    vae = Graph(base, DECODER, data).rename("sample", "images").rename("latent_sample", "latent")
    vae.shape("latent", "B", 4, "H", "W").shape("images", "B", 3, "8H", "8W")
    pixels = Graph(base, ENCODER, data).rename("sample", "images").shape("images", "B", 3, "8H", "8W")
    return vae, pixels.sampled().rename("latent_sample", "latent").shape("latent", "B", 4, "H", "W")


def demo(base, data, clip, unet, decoder, encoder, half=False):
    """ONNX Runtime's demo and NVIDIA's, which it was made from, in these four folders."""
    text = Graph(base, TEXT, data).rename("last_hidden_state", "text_embeddings").outputs("text_embeddings")
    text.ids(INT32).shape("input_ids", "B", 77).shape("text_embeddings", "B", 77, 16)
    net = Graph(base, UNET, data).timesteps(1).rename("out_sample", "latent").shape("latent", "2B", 4, "H", "W")
    net.shape("sample", "2B", 4, "H", "W").shape("encoder_hidden_states", "2B", 77, 16)
    vae, pixels = demo_vae(base, data)
    if half:  # these four stay in 32 bits around a graph in 16
        net.kind("sample", FLOAT).kind("timestep", FLOAT)
        vae.kind("latent", FLOAT).kind("images", FLOAT)
    return {clip: text, unet: net, decoder: vae, encoder: pixels}


def olive_vae(base, data):
    decoder = Graph(base, DECODER, data)
    decoder.shape("latent_sample", "batch_size", "latent_channels", "height_latent", "width_latent")
    decoder.shape("sample", "batch_size", "out_channels", "height", "width")
    encoder = Graph(base, ENCODER, data).shape("sample", "batch_size", "num_channels", "height", "width")
    encoder.shape("latent_parameters", "batch_size", "latent_channels", "height_latent", "width_latent")
    return {DECODER: decoder, ENCODER: encoder}


def olive():
    data = "model.onnx.data"
    text = Graph("sd1", TEXT, data).shape("last_hidden_state", "batch_size", "sequence_length", "hidden_size")
    unet = Graph("sd1", UNET, data).shape("sample", "batch_size", "in_channels", "height", "width")
    unet.shape("encoder_hidden_states", "batch_size", "sequence_length", "cross_attention_dim")
    unet.shape("out_sample", "batch_size", "in_channels", "height", "width")
    return {TEXT: text, UNET: unet, **olive_vae("sd1", data)}


def olive_recipe():
    sample = ["unet_sample_batch", "unet_sample_channels", "unet_sample_height", "unet_sample_width"]
    unet = Graph("sd1", UNET, "weights.pb").timesteps("unet_time_batch").kind("timestep", INT64)
    unet.shape("sample", *sample).shape("encoder_hidden_states", "unet_hidden_batch", "unet_hidden_sequence", 16)
    return {UNET: unet, **diffusers_vae()}


def amuse():
    """The graph in 16 bits, everything around it in 32."""
    text = Graph("sd1-fp16", TEXT).rename("pooler_output", "text_embeds").ids(INT32)
    names = text.hidden_states()
    text.outputs("text_embeds", "last_hidden_state", *names)
    unet = Graph("sd1-fp16", UNET).timesteps("unet_time_batch").shape(
        "sample", "unet_sample_batch", "unet_sample_channels", "unet_sample_height", "unet_sample_width"
    )
    decoder, encoder = Graph("sd1-fp16", DECODER), Graph("sd1-fp16", ENCODER).sampled()
    parts = {TEXT: text, UNET: unet, DECODER: decoder, ENCODER: encoder}
    for part in parts.values():
        for port in [*part.graph.input, *part.graph.output]:
            if port.type.tensor_type.elem_type == HALF:
                part.kind(port.name, FLOAT)
    return parts


def fixed_unet(batch, height="height", width="width"):
    unet = Graph("sd1", UNET).shape("sample", batch, 4, height, width).shape("out_sample", batch, 4, height, width)
    return unet.shape("encoder_hidden_states", batch, 77, 16)


def fixed():
    """As graphs made for one size on a device that wants it known: 64 pixels wide, 48 high, both sides of guidance."""
    text = Graph("sd1", TEXT).shape("input_ids", 1, 77).shape("last_hidden_state", 1, 77, 16)
    unet = fixed_unet(2, 12, 16).timesteps(2).kind("timestep", INT64)
    decoder = Graph("sd1", DECODER).shape("latent_sample", 1, 4, 12, 16).shape("sample", 1, 3, 48, 64)
    encoder = Graph("sd1", ENCODER).shape("sample", 1, 3, 48, 64).shape("latent_parameters", 1, 8, 12, 16)
    return {TEXT: text, UNET: unet, DECODER: decoder, ENCODER: encoder}


NO_CONFIGS = ("text_encoder/config.json", "unet/config.json", "vae_decoder/config.json", "vae_encoder/config.json")
DEMO = {"drop": NO_CONFIGS + ("model_index.json",), "encoder": "sampled"}
OLD = {"drop": NO_CONFIGS, "index": "OnnxStableDiffusionPipeline", "encoder": "sampled", "text": "sd1-old"}
SD1 = {  # name -> what it is, its graphs, how the folder differs otherwise
    "diffusers": ("diffusers' convert_stable_diffusion_checkpoint_to_onnx.py", diffusers, OLD),
    "controlnet-script": (
        "diffusers' convert_stable_diffusion_controlnet_to_onnx.py, without ControlNets", controlnet, OLD,
    ),
    "onnxruntime": (
        "the demo of onnxruntime/transformers/models/stable_diffusion in 32 bits",
        lambda: demo("sd1", "model.onnx.data", "clip", "unet", "vae", "vae_encoder"), DEMO,
    ),
    "onnxruntime-fp16": (
        "the same in 16 bits for CUDA, some inputs and outputs in 32, folders named for it",
        lambda: demo("sd1-fp16", "model.onnx.data", "clip.ort_cuda.fp16", "unet.ort_cuda.fp16", "vae.ort_cuda.fp16",
                     "vae_encoder.ort_cuda.fp16", half=True), {**DEMO, "base": "sd1-fp16", "within": 1},
    ),
    "olive": ("Olive's io_configs/diffusers.yaml: channels are free axes too", olive, {"drop": NO_CONFIGS}),
    "olive-recipe": ("Olive's older recipe for DirectML", olive_recipe, OLD),
    "amuse": (
        "OnnxStack's converter: 32-bit inputs and outputs around 16 bits, `text_embeds` before the states", amuse,
        {"drop": NO_CONFIGS, "base": "sd1-fp16", "encoder": "sampled", "within": 2},
    ),
    "nvidia": (
        "NVIDIA's demo/Diffusion",
        lambda: demo("sd1", "model.onnx.data", "clip.opt", "unet.opt", "vae.opt", "vae_encoder.opt"), DEMO,
    ),
    "timestep-vector": ("a timestep of rank 1", lambda: {UNET: Graph("sd1", UNET).timesteps(1)}, {}),
    "timestep-int64": ("a whole timestep", lambda: {UNET: Graph("sd1", UNET).kind("timestep", INT64)}, {}),
    "timestep-int64-vector": (
        "a whole timestep of rank 1", lambda: {UNET: Graph("sd1", UNET).timesteps("steps").kind("timestep", INT64)}, {},
    ),
    "timestep-int32": ("a whole timestep in 32 bits", lambda: {UNET: Graph("sd1", UNET).kind("timestep", INT32)}, {}),
    "timestep-fp16": (
        "a timestep in 16 bits beside 32", lambda: {UNET: Graph("sd1", UNET).timesteps(1).kind("timestep", HALF)}, {},
    ),
    "batch-1": ("one row at a time", lambda: {UNET: fixed_unet(1)}, {"within": 1}),
    "batch-2": ("two rows at a time", lambda: {UNET: fixed_unet(2)}, {}),
    "fixed-size": ("one size, two rows, a timestep a row", fixed, {"drop": NO_CONFIGS, "size": None, "within": 1}),
    "tokenizer-json": ("transformers 5: the whole tokenizer in one file", dict, {"tokenizer": True}),
    "cache": ("the cache of the hub's client: a snapshot of links into a folder of blobs", dict, {"cache": True}),
}  # fmt: skip
