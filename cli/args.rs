//! What can be typed. Names of samplers, schedules and providers come from the engine's tables.
use crate::changes::Changes;
use clap::{Args, Parser, Subcommand, ValueEnum};
use petal_engine::{LoadOptions, PROVIDERS, Request};
use std::{ffi::OsString, path::PathBuf};

/// Draws pictures from words with Stable Diffusion on ONNX Runtime.
#[derive(Debug, Parser)]
#[command(name = "petal", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:\n  petal \"a dog in space\"\n  petal \"a cat on the beach\" -s 7 -b 4 -o cats/\n  \
                        petal draw \"a castle\" -m path/to/model --steps 30 --sampler dpmpp_2m --scheduler karras")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) draw: Draw,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Draw pictures (what happens without a subcommand)
    Draw(Box<Draw>),
    /// List what can be chosen
    List(List),
    /// Say which ONNX Runtime, providers and model are used here, and whether they are sound
    Doctor(Doctor),
    /// Say what made a picture
    Inspect(Inspect),
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Draw {
    /// What the picture shows; `-` reads it from standard input
    #[arg(group = "what")]
    prompt: Option<String>,
    /// What the picture shows, as a flag
    #[arg(short = 'p', long = "prompt", value_name = "PROMPT", group = "what")]
    prompt_flag: Option<String>,
    /// The PNG file to write, a folder for it, or `-` for standard output [default: named after prompt and seed]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<OsString>,
    /// Starting noise from a .npy or .safetensors file: unit variance, [1, channels, height / f, width / f]
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    /// Write the final latents to a .npy or .safetensors file
    #[arg(long, value_name = "FILE")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Do not write into the picture what made it
    #[arg(long, alias = "disable-image-metadata")]
    pub(crate) no_metadata: bool,
    /// Show the picture in the terminal as it comes to be (with sixel graphics, when it is done)
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    pub(crate) show: Option<Show>,
    /// Print one JSON object for each picture
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but paths and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// How a picture is shown in a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// The best that the terminal is known to have
    Auto,
    /// The kitty graphics protocol
    Kitty,
    /// Inline images of iTerm2
    Iterm2,
    /// Sixel graphics
    Sixel,
    /// Half blocks in 24-bit colour: any terminal
    Blocks,
}

/// Which model, and where it runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model and device")]
pub(crate) struct Load {
    /// A name from `petal list models`, or a folder of ONNX graphs [default: the model that comes with petal]
    #[arg(short, long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// A catalogue of your own vetted models, in the form of petal's models.toml
    #[arg(long, value_name = "FILE", env = "PETAL_CATALOGUE")]
    catalogue: Option<PathBuf>,
    /// The execution provider, and the number of its device, as in cuda:1
    #[arg(long, value_name = "NAME", default_value = "auto", long_help = providers_help())]
    ep: String,
    /// Threads [default: one for each core]
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The ONNX Runtime library to use [default: found, or installed with pip]
    #[arg(long, value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// Never touch the network
    #[arg(long)]
    offline: bool,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// What to list
    #[arg(value_enum)]
    pub(crate) what: Listing,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// A catalogue of your own vetted models
    #[arg(long, value_name = "FILE", env = "PETAL_CATALOGUE")]
    pub(crate) catalogue: Option<PathBuf>,
    /// The ONNX Runtime library whose providers to list [default: found]
    #[arg(long, value_name = "PATH")]
    pub(crate) onnxruntime: Option<PathBuf>,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Listing {
    /// Ways from noise to picture
    Samplers,
    /// Noise levels
    Schedulers,
    /// Vetted models
    Models,
    /// Ways to use a device
    Providers,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// A PNG file
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Draw {
    /// The prompt as typed; `-` means standard input.
    pub(crate) fn prompt(&self) -> &str {
        self.prompt.as_deref().or(self.prompt_flag.as_deref()).unwrap_or_default()
    }

    /// The request for `prompt`, without latents.
    pub(crate) fn request(&self, prompt: String) -> Request {
        let mut request = Request { prompt, ..Request::default() };
        self.changes.apply(&mut request);
        request
    }
}

impl Load {
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            model: self.model.clone(),
            catalogue: self.catalogue.clone(),
            provider: self.ep.clone(),
            threads: self.threads.map(usize::from),
            library: self.onnxruntime.clone(),
            offline: self.offline,
        }
    }
}

fn providers_help() -> String {
    let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
    format!(
        "The execution provider, and the number of its device, as in cuda:1: auto, {}. What is named is used, or the \
         command fails",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_agree_with_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_prompt_needs_no_subcommand() {
        let plain = Arguments::parse_from(["petal", "a dog", "-s", "7"]);
        assert_eq!((plain.draw.prompt(), plain.draw.request(String::new()).seed), ("a dog", 7));
        let named = Arguments::parse_from(["petal", "draw", "-p", "a dog"]);
        assert!(matches!(named.command, Some(Command::Draw(draw)) if draw.prompt() == "a dog"));
    }
}
