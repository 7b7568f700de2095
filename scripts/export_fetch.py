"""Where does a pipeline come from? A diffusers folder, a checkpoint in one file, or a name on a hub.

diffusers converts a checkpoint. What such a file lacks, configurations and tokenizers, comes from `like`, a diffusers
folder of the same kind of model (its weights are not needed), or from the hub that diffusers knows for it.
"""

import json
from pathlib import Path

# what a hub is asked for; a repository also holds the same weights in other forms
WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
UNWANTED = ["*.fp16.*", "*non_ema*", "safety_checker/*", "*.msgpack", "*onnx*"]


def fetched(name):
    """The folder of a repository such as `owner/model`; `HF_ENDPOINT` names another hub."""
    from huggingface_hub import snapshot_download

    try:
        index = snapshot_download(name, allow_patterns=["model_index.json"])
        index = json.loads((Path(index) / "model_index.json").read_text(encoding="utf-8"))
        parts = [part for part, kind in index.items() if isinstance(kind, list) and kind[0] is not None]
        wanted = [f"{part}/{pattern}" for part in parts for pattern in WANTED]
        return Path(snapshot_download(name, allow_patterns=["model_index.json", *wanted], ignore_patterns=UNWANTED))
    except Exception as error:
        hint = "hint: give a folder, a .safetensors file or the name of a repository; `HF_ENDPOINT` names another hub"
        raise SystemExit(f"error: `{name}` is no folder, and no hub gave it: {error}\n\n{hint}") from error


def converted(file, like, scratch):
    """A checkpoint in one file as a diffusers folder inside `scratch`."""
    import diffusers
    import torch

    kind, settings = diffusers.StableDiffusionPipeline, {}
    if like is not None:
        index = json.loads((Path(like) / "model_index.json").read_text(encoding="utf-8"))
        kind = getattr(diffusers, index["_class_name"])
        settings = {"config": str(like), "local_files_only": True}
        if "safety_checker" in index:
            settings |= {"safety_checker": None}
    else:
        kind = class_of(file)
    try:
        pipeline = kind.from_single_file(str(file), torch_dtype=torch.float32, **settings)
    except Exception as error:
        hint = "hint: give `--like FOLDER`, a diffusers folder of the same kind of model"
        raise SystemExit(f"error: diffusers cannot convert `{file}`: {error}\n\n{hint}") from error
    pipeline.save_pretrained(scratch)
    return Path(scratch)


def class_of(file):
    """The pipeline that a checkpoint belongs to, by the names of its weights."""
    import diffusers
    from safetensors import safe_open

    with safe_open(file, "pt") as weights:
        names = set(weights.keys())
    has = lambda beginning: any(name.startswith(beginning) for name in names)
    if has("model.diffusion_model.double_blocks") or has("double_blocks"):
        return diffusers.FluxPipeline
    if has("model.diffusion_model.joint_blocks"):
        return diffusers.StableDiffusion3Pipeline
    if has("conditioner.embedders.1."):
        return diffusers.StableDiffusionXLPipeline
    return diffusers.StableDiffusionXLImg2ImgPipeline if has("conditioner.") else diffusers.StableDiffusionPipeline


def folder_of(src, like, scratch):
    """The diffusers folder of `src`."""
    path = Path(src)
    if path.is_file():
        return converted(path, like, scratch)
    if path.exists() or str(src).count("/") != 1:
        if not (path / "model_index.json").exists():
            hint = "hint: give the folder of a diffusers pipeline, a .safetensors file or a name such as owner/model"
            raise SystemExit(f"error: `{src}` has no model_index.json\n\n{hint}")
        return path
    return fetched(str(src))
