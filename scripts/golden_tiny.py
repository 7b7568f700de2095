"""Which picture does a tiny autoencoder decode? Run as `python scripts/golden.py tiny`.

Draws as golden_pictures.py does, with diffusers' `AutoencoderTiny` that tiny_models.py makes in place of the VAE. Writes
tests/images/tiny/NAME.png and index.json.
"""

import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image

from export import portable
from golden import IMAGES, write
from golden_pictures import FACTOR, HEIGHT, LINSPACE, REQUEST, SEED, WIDTH, draw
from tiny_models import make_pipeline, make_tiny


def tiny():
    torch.set_num_threads(1)  # sums split among threads round differently
    folder = IMAGES / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    latents = torch.randn(1, 4, HEIGHT // FACTOR, WIDTH // FACTOR, generator=torch.Generator().manual_seed(SEED))
    pipeline = make_pipeline("sd1")
    pipeline.text_encoder.__dict__.setdefault("text_model", pipeline.text_encoder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae = make_tiny().eval()
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, **LINSPACE)
    Image.fromarray(draw(pipeline, 10, latents, "latents", 1)).save(folder / "euler-linspace-10.png", optimize=True)
    config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
    entry = {"file": "euler-linspace-10.png", "model": "sd1", "steps": 10, "latents": "../latents.npy", "vae": "fast"}
    entry["config"] = {"_class_name": "EulerDiscreteScheduler", **config}
    write("index.json", {"request": {**REQUEST, "width": WIDTH, "height": HEIGHT}, "pictures": [entry]}, folder)
