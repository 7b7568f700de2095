//! Which tiny autoencoder stands in for the model's own?
//!
//! Such networks (TAESD; diffusers' `AutoencoderTiny`) decode a hundred times
//! faster, with some loss of detail. They take latents as the network has them: their scale is 1 and their shift 0.
use super::Decoder;
use crate::{Error, Result, loader::Loader, runtime::Stage, survey::Component};
use std::path::{Path, PathBuf};

/// The folder in which exports have it.
const COMPONENT: &str = "vae_tiny_decoder";

/// A tiny autoencoder, loaded when it is first asked for.
pub(crate) struct Tiny {
    /// A graph, or a folder that holds one, in place of the model's.
    named: Option<PathBuf>,
    /// The model's.
    own: Option<Component>,
    decoder: Option<Decoder>,
}

impl Tiny {
    pub(crate) fn new(named: Option<PathBuf>, own: Option<Component>) -> Self {
        Self { named, own, decoder: None }
    }

    /// The graph or folder in place of the model's.
    pub(crate) fn named(&self) -> Option<&Path> {
        self.named.as_deref()
    }

    /// Fails if there is none.
    pub(crate) fn check(&self) -> Result<()> {
        if self.named.is_some() || self.own.is_some() { Ok(()) } else { Err(missing()) }
    }

    /// Its decoder, which takes latents of `channels` channels and gives `downsampling` pixels to each.
    pub(crate) fn decoder(&mut self, loader: &Loader, channels: usize, downsampling: usize) -> Result<&mut Decoder> {
        let decoder = if let Some(decoder) = self.decoder.take() {
            decoder
        } else {
            let graph = match (&self.named, &self.own) {
                (Some(path), _) => loader.graph_at(Stage::Vae, &graph_in(path))?,
                (None, Some(own)) => loader.graph(Stage::Vae, own)?,
                (None, None) => return Err(missing()),
            };
            Decoder::new(graph, 1.0, 0.0, None)?
        };
        let format = decoder.format();
        if (format.channels, format.downsampling) != (channels, downsampling) {
            let what = format!("{} channels with {} pixels to a latent", format.channels, format.downsampling);
            return Err(Error::model(
                format!("the tiny autoencoder is for latents of {what}, the model's are {channels} and {downsampling}"),
                "name one that was made for this family of models with `--taesd`",
            ));
        }
        Ok(self.decoder.insert(decoder))
    }
}

fn missing() -> Error {
    Error::request(
        "the model has no tiny autoencoder, which `--vae fast` and `--preview tae` use",
        "name one with `--taesd FOLDER`; `scripts/export.py --taesd` makes one of diffusers' `AutoencoderTiny`",
    )
}

/// The file of the graph that `path` names or holds.
fn graph_in(path: &Path) -> PathBuf {
    let inside = [path.join(COMPONENT).join("model.onnx"), path.join("model.onnx")];
    inside.into_iter().find(|file| file.is_file()).unwrap_or_else(|| path.to_path_buf())
}
