//! The model that is part of the program, so that an installed petal alone can draw.

/// Lists files of the bundled model with their bytes.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/petal-mini/", $name)).as_slice())),*]
    };
}

/// `petal-mini`: made by `scripts/train_demo.py` and `scripts/export.py`, hashes in `models.toml`.
pub(super) const FILES: &[(&str, &[u8])] = files![
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
];
