"""What do pictures of other programs say of themselves? For `golden.py infotext`.

Writes small pictures as stable-diffusion-webui, ComfyUI and InvokeAI write them, with Pillow and piexif, into
tests/images/foreign, and index.json, which says what each of them means. The pairs of stable-diffusion-webui's last
line are found by its rule as a regular expression, run by Python.
"""

import json
import re
from importlib import metadata

import piexif
from piexif import helper
from PIL import Image, PngImagePlugin

PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
WEBUI = {
    "plain": (
        "a dog, in (space:1.2)\nNegative prompt: ugly, [blurry]\nmessy drawing\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x768, Model hash: 45dee52b",
        {"steps": 20, "sampler": "euler_ancestral", "scheduler": "automatic", "cfg_scale": 7.0, "seed": 965400086,
         "width": 512, "height": 768, "rng": "nv", "prompt": "a dog, in (space:1.2)",
         "negative_prompt": "ugly, [blurry]\nmessy drawing"},
        [],
    ),
    "newer": (
        "太空中的狗 🚀 <lora:fur:0.8>\n"
        "Steps: 25, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 3.5, Seed: 42, Size: 1344x768, "
        "Model hash: 1fe6c7ec54, Model: Some_Model, Variation seed: 7, Variation seed strength: 0.25, "
        "Seed resize from: 512x512, Clip skip: 2, ENSD: 31337, RNG: CPU, Emphasis: No norm, Eta: 0.5, Sigma noise: 1.02, "
        'Hires checkpoint: "a, b: \\"c\\"", Lora hashes: "fur: 5f1a, x: 0", Version: v1.10.1',
        {"steps": 25, "sampler": "dpmpp_2m_sde", "scheduler": "karras", "cfg_scale": 3.5, "seed": 42, "width": 1344,
         "height": 768, "variation_seed": 7, "variation_strength": 0.25, "seed_resize_width": 512,
         "seed_resize_height": 512, "clip_skip": 2, "ensd": 31337, "rng": "cpu", "emphasis": "no_norm", "eta": 0.5,
         "s_noise": 1.02, "prompt": "太空中的狗 🚀 "},
        ["Hires checkpoint", "Lora hashes", "<lora:fur:0.8>"],
    ),
    "combined": (
        "Steps: 10, Sampler: DPM++ SDE Karras, CFG scale: 6, Seed: 1, Size: 512x512, RNG: GPU",
        {"steps": 10, "sampler": "dpmpp_sde", "scheduler": "karras", "cfg_scale": 6.0, "seed": 1, "width": 512,
         "height": 512, "rng": "nv"},
        [],
    ),
}  # fmt: skip
VALUES = {"prompt": "a dog in space", "negative_prompt": "blurry", "seed": 42, "steps": 30, "cfg_scale": 7.5,
          "width": 512, "height": 640}  # fmt: skip
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 42, "steps": 30, "cfg": 7.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
        "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog in space", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["10", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "fur.safetensors", "strength_model": 0.8,
        "strength_clip": 0.8, "model": ["4", 0], "clip": ["4", 1]}},
}  # fmt: skip
INVOKE = {
    "app_version": "5.4.2", "generation_mode": "txt2img", "positive_prompt": "a dog in space",
    "negative_prompt": "blurry", "width": 512, "height": 640, "seed": 42, "rand_device": "cpu", "cfg_scale": 7.5,
    "cfg_rescale_multiplier": 0, "steps": 30, "scheduler": "dpmpp_2m_k", "clip_skip": 0,
    "model": {"key": "0", "hash": "blake3:0", "name": "stable-diffusion-v1-5", "base": "sd-1", "type": "main"},
    "loras": [{"weight": 0.8}],
}  # fmt: skip
INVOKE_2 = {
    "model": "stable diffusion", "model_weights": "stable-diffusion-1.5", "app_id": "invoke-ai/InvokeAI",
    "app_version": "2.3.5", "image": {
        "prompt": [{"prompt": "a dog in space [blurry]", "weight": 1.0}], "steps": 30, "cfg_scale": 7.5, "width": 512,
        "height": 640, "seed": 42, "type": "txt2img", "sampler": "k_euler", "hires_fix": False, "variations": []},
}  # fmt: skip
DREAM = '"a dog in space [blurry]" -s 30 -S 42 -W 512 -H 640 -C 7.5 -A k_euler'
KARRAS = {**VALUES, "sampler": "dpmpp_2m", "scheduler": "karras"}


def pairs(text):
    last = text.strip().split("\n")[-1]
    found = PAIR.findall(last)
    unquote = lambda value: json.loads(value) if value[:1] == '"' and value[-1:] == '"' else value.strip()  # noqa: E731
    return [[name, unquote(value)] for name, value in found] if len(found) >= 3 else []


def picture():
    """Noise-free and small, so that the files are."""
    image = Image.new("RGB", (8, 8))
    image.putdata([(x * 30, y * 30, 90) for y in range(8) for x in range(8)])
    return image


def save(folder, name, texts=None, exif=None, packed=False, **options):
    info = PngImagePlugin.PngInfo()
    for keyword, text in (texts or {}).items():
        info.add_text(keyword, text, zip=packed)
    more = {"pnginfo": info} if texts else {}
    picture().save(folder / name, **more, **({"exif": exif} if exif else {}), **options)
    return name


def webui_exif(text):
    comment = helper.UserComment.dump(text, encoding="unicode")
    return piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}})


def pillow_exif(comment):
    """Little-endian data with the comment that is given, as Pillow alone writes it."""
    exif = Image.Exif()
    exif.endian = "<"
    exif.get_ifd(0x8769)[0x9286] = comment
    return exif.tobytes()


def comfy_exif(graph):
    """What ComfyUI's node for animated WebP files writes: `prompt:` in Model, `workflow:` in Make."""
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(graph)
    exif[0x010F] = 'workflow:{"nodes": []}'
    return exif.tobytes()


def infotext():
    from golden import IMAGES, write

    folder = IMAGES / "foreign"
    folder.mkdir(parents=True, exist_ok=True)
    found = []

    def add(file, origin, request, left_out, text=None):
        more = {"pairs": pairs(text)} if text else {}
        found.append({"file": file, "origin": origin, "request": request, "left_out": left_out, **more})

    for name, (text, request, left_out) in WEBUI.items():
        utf_16 = b"UNICODE\0" + text.encode("utf-16-le")
        files = [
            save(folder, f"webui-{name}.png", {"parameters": text}),
            save(folder, f"webui-{name}.jpg", exif=webui_exif(text), quality=80),
            save(folder, f"webui-{name}.webp", exif=webui_exif(text), lossless=True),
            save(folder, f"pillow-{name}.jpg", exif=pillow_exif(utf_16), quality=80),
        ]
        if text.isascii():
            files.append(save(folder, f"packed-{name}.png", {"parameters": text}, packed=True))
            files.append(save(folder, f"ascii-{name}.webp", exif=pillow_exif(b"ASCII\0\0\0" + text.encode())))
            files.append(save(folder, f"webui-{name}.gif", comment=text.encode()))
        for file in files:
            add(file, "stable-diffusion-webui", request, left_out, text)
    lora = ["LoraLoader (fur.safetensors)"]
    texts = {"prompt": json.dumps(GRAPH), "workflow": '{"nodes": []}'}
    add(save(folder, "comfyui.png", texts), "ComfyUI", KARRAS, lora)
    add(save(folder, "comfyui.webp", exif=comfy_exif(GRAPH), lossless=True), "ComfyUI", KARRAS, lora)
    two = {"prompt": json.dumps({**GRAPH, "11": GRAPH["3"]})}
    add(save(folder, "comfyui-two-samplers.png", two), "ComfyUI", None, [])
    add(save(folder, "invokeai.png", {"invokeai_metadata": json.dumps(INVOKE)}), "InvokeAI", KARRAS, ["loras"])
    old = {**VALUES, "sampler": "euler"}
    add(save(folder, "invokeai-2.png", {"sd-metadata": json.dumps(INVOKE_2)}), "InvokeAI", old, [])
    add(save(folder, "invokeai-1.png", {"Dream": DREAM}), "InvokeAI", old, [])
    text = WEBUI["newer"][0]
    piexif_bytes = {"piexif": metadata.version("piexif"), "text": text, "exif": webui_exif(text).hex()}
    write("index.json", {"pictures": found, "written": piexif_bytes}, folder)
