//! The models that are part of the program, so that an installed petal alone can draw and enlarge.

/// The files of a model, by their paths in its folder.
pub(super) type BundledFiles = &'static [(&'static str, &'static [u8])];

/// Lists files of a bundled model with their bytes.
macro_rules! files {
    ($model:literal: $($name:literal),* $(,)?) => {
        ($model, &[$(
            ($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/", $model, "/", $name)).as_slice())
        ),*])
    };
}

/// Every bundled model by its name in `models.toml`, which has the hashes.
///
/// `petal-mini` is made by `scripts/train_demo.py` and `scripts/export.py`, the upscaler by `scripts/upscaler.py`.
const MODELS: &[(&str, BundledFiles)] = &[
    files![
        "petal-mini":
        "model_index.json",
        "preview.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.onnx",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/model.onnx",
        "vae_decoder/config.json",
        "vae_decoder/model.onnx",
        "vae_encoder/config.json",
        "vae_encoder/model.onnx",
    ],
    files!["realesr-animevideov3-x4": "LICENSE", "model.onnx"],
];

/// The files of the model that `models.toml` calls `name`, if they are part of the program.
pub(super) fn files(name: &str) -> Option<BundledFiles> {
    MODELS.iter().find(|(model, _)| *model == name).map(|(_, files)| *files)
}
