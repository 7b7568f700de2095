//! Which model is loaded, and where does it run? The flags of every command that loads one.
use clap::Args;
use petal_engine::{LoadOptions, PROVIDERS};
use std::path::PathBuf;

/// Which model, and where it runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model and device")]
pub(crate) struct Load {
    /// A name from `petal list models`, or a folder of ONNX graphs [default: the model that comes with petal]
    #[arg(short, long, value_name = "NAME|DIR")]
    pub(crate) model: Option<String>,
    /// A catalogue of your own vetted models, in the form of petal's models.toml
    #[arg(long, value_name = "FILE", env = "PETAL_CATALOGUE")]
    catalogue: Option<PathBuf>,
    /// The execution provider, and the number of its device, as in cuda:1; or some for parts, as in unet=cuda,vae=cpu
    #[arg(long, value_name = "NAME", default_value = "auto", long_help = providers_help())]
    ep: String,
    /// Let the CPU run what the provider of `--ep` cannot: all, if it does not start, or some operators
    #[arg(long)]
    allow_fallback: bool,
    /// The library of a plugin that holds a provider, as in webgpu=PATH
    #[arg(long, value_name = "NAME=PATH", env = "PETAL_EP_LIBRARY", value_parser = named_library)]
    ep_library: Vec<(String, PathBuf)>,
    /// Threads [default: one for each core]
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The ONNX Runtime library to use [default: found, or installed with pip]
    #[arg(long, value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// Never touch the network
    #[arg(long)]
    offline: bool,
    /// Use a model of the catalogue whose hashes nobody has
    #[arg(long)]
    allow_unvetted: bool,
    /// A tiny autoencoder for `--vae fast`, in place of the model's own: an ONNX file, or a folder that holds one
    #[arg(long, value_name = "FILE|DIR")]
    taesd: Option<PathBuf>,
    /// Text encoders in place of the model's: a folder that holds one, or several in folders named as the model's are
    #[arg(long, value_name = "DIR")]
    text_encoder: Option<PathBuf>,
}

impl Load {
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            model: self.model.clone(),
            catalogue: self.catalogue.clone(),
            provider: self.ep.clone(),
            allow_fallback: self.allow_fallback,
            provider_libraries: self.ep_library.clone(),
            threads: self.threads.map(usize::from),
            library: self.onnxruntime.clone(),
            offline: self.offline,
            allow_unvetted: self.allow_unvetted,
            taesd: self.taesd.clone(),
            text_encoder: self.text_encoder.clone(),
            ..LoadOptions::default()
        }
    }
}

/// A provider's name and a path, between which stands `=`.
fn named_library(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("write the provider's name, `=`, and the path of its library".into()),
    }
}

fn providers_help() -> String {
    let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
    let automatic: Vec<_> = PROVIDERS.iter().filter(|it| it.automatic).map(|it| it.name).collect();
    format!(
        "The execution provider, and the number of its device, as in cuda:1: auto, {}.\n\nWhat is named runs the work, or \
         the command fails. Only the arithmetic of shapes stays on the CPU, where ONNX Runtime itself puts it. \
         `--allow-fallback` lets the CPU run what the provider cannot; with it, several names between commas are tried in \
         their order, the CPU at last.\n\nParts may have their own: text (the text encoders), unet (or transformer, \
         network), vae (both halves) and upscaler, as in unet=webgpu,vae=cpu; a name without a part is for the parts that \
         are not named.\n\n`auto` tries {}, in this order, as far as the library has them, and says what it chose; it lets \
         the CPU run what a provider cannot",
        names.join(", "),
        automatic.join(", "),
    )
}
