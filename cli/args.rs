//! What can be typed. Names of samplers, schedules and providers come from the engine's tables.
use crate::{changes::Changes, load::Load};
use clap::{Args, Parser, Subcommand, ValueEnum};
use petal_engine::{FileFormat, ImageSource, LoadOptions, Request};
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
    /// Say what made a picture, or what is in a model
    Inspect(Inspect),
    /// Show how a prompt is read: tokens, their numbers, weights and chunks
    Tokens(Tokens),
    /// Draw what petal would do, without drawing a picture
    Plot(Plot),
    /// Draw a labelled grid of pictures, in which one or two things vary
    Grid(Box<Grid>),
    /// Draw a picture again from what its file says, or another one like it
    Redraw(Box<Redraw>),
    /// Draw a picture again and say whether its pixels are the same
    Verify(Verify),
    /// Make pictures larger, with a network made for it
    Upscale(crate::upscale::Upscale),
    /// Download models, list them, remove them
    Models(crate::models::Models),
    /// Install ONNX Runtime and its providers, list them, remove them
    Runtime(crate::runtime::Runtime),
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
    /// A file of prompts, one a line, or of requests as JSON lines; `-` reads it from standard input
    ///
    /// Empty lines and those that begin with `#` are passed over. A JSON line has the fields that `--json` prints in
    /// `request`; its pictures are seen from the folder of the file. What a job does not say is as the other flags have
    /// it. A picture that fails is reported, and the next is drawn. A run that was interrupted goes on with the same
    /// command: what is in the report and on the disk is not drawn again (not so with `-s -1`, which chooses another seed
    /// each time).
    #[arg(long, value_name = "FILE", group = "what", conflicts_with_all = ["latents", "save_latents", "trace", "show"])]
    pub(crate) prompt_file: Option<PathBuf>,
    /// Where to report what became of each picture of `--prompt-file`, as JSON lines [default: FILE.report.jsonl]
    #[arg(long, value_name = "FILE", requires = "prompt_file")]
    pub(crate) report: Option<PathBuf>,
    /// Starting noise from a .npy or .safetensors file: unit variance, [1, channels, height / f, width / f]
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) results: Results,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// How pictures become files.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// The format of standard output and of files in a folder [default: png]; a file's own suffix says its format
    #[arg(long, value_name = "NAME")]
    pub(crate) format: Option<Format>,
    /// The quality of .jpg and .webp files, 1 to 100 [default: 95 for .jpg; without it .webp loses nothing]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
}

/// Where pictures go, and what is told of them.
#[derive(Args, Debug)]
pub(crate) struct Results {
    /// The .png, .jpg or .webp file to write, a folder, or `-` for standard output [default: named after prompt and seed]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<OsString>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Write the final latents to a .npy or .safetensors file
    #[arg(long, value_name = "FILE")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Write the estimate at every step to a contact sheet, a .png file, and to an animation (.apng) beside it; a .gif or
    /// .apng file is the animation alone
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// How estimates become pictures
    #[arg(long, value_name = "HOW", default_value = "vae", requires = "trace")]
    pub(crate) trace_with: Developer,
    /// Write the picture as it comes to be to a file, replaced each time: a rough one (`proj`), by a tiny autoencoder (`tae`)
    /// or by the model's own (`vae`)
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub(crate) preview: PreviewHow,
    /// Every so many steps
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) preview_interval: u32,
    /// The .png, .jpg or .webp file of the preview
    #[arg(long, value_name = "FILE", default_value = "preview.png")]
    pub(crate) preview_path: PathBuf,
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
}

/// The format of a file, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The pixels as they are
    Png,
    /// Smaller, the pixels nearly as they are
    #[value(alias = "jpeg")]
    Jpg,
    /// The pixels as they are, in less space than PNG
    Webp,
}

impl From<Format> for FileFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Png => Self::Png,
            Format::Jpg => Self::Jpeg,
            Format::Webp => Self::WebP,
        }
    }
}

/// How an estimate becomes a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Developer {
    /// With the model's VAE, as the picture itself
    Vae,
    /// Roughly and fast, without it
    Preview,
}

/// What makes previews.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreviewHow {
    /// Nothing
    None,
    /// A linear map of the latents: small and rough
    Proj,
    /// A tiny autoencoder
    Tae,
    /// The model's own autoencoder
    Vae,
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

/// Whose small files are read, without loading a graph.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub(crate) struct Model {
    /// A name from `petal list models`, or a folder of ONNX graphs [default: the model that comes with petal]
    #[arg(short, long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// A catalogue of your own vetted models, in the form of petal's models.toml
    #[arg(long, value_name = "FILE", env = "PETAL_CATALOGUE")]
    catalogue: Option<PathBuf>,
}

impl Model {
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions { model: self.model.clone(), catalogue: self.catalogue.clone(), ..LoadOptions::default() }
    }
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
    /// Ways to enlarge a picture, with and without a network
    Upscalers,
    /// Ways to use a device
    Providers,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  petal doctor\n  petal doctor -m path/to/model --ep cuda --json\n\n\
                        What it prints can be pasted into a report of a fault: your home folder is written as ~.")]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  petal inspect dog.png\n  petal inspect unet/model.onnx --json\n  \
                        petal inspect path/to/model\n\n\
                        A model that something is missing from ends the command with code 1.")]
pub(crate) struct Inspect {
    /// A PNG, JPEG, WebP or GIF file, an ONNX file, a folder of ONNX graphs, or a name from `petal list models`
    #[arg(value_name = "IMAGE|MODEL")]
    pub(crate) path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave out the SHA-256 of a model's files, for which all its weights are read
    #[arg(long)]
    pub(crate) no_hashes: bool,
    /// A catalogue of your own vetted models
    #[arg(long, value_name = "FILE", env = "PETAL_CATALOGUE")]
    pub(crate) catalogue: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Tokens {
    /// The prompt; `-` reads it from standard input
    pub(crate) prompt: String,
    /// For how many steps `[a:b:0.5]` and `[a|b]` are read
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) steps: u32,
    /// What brackets mean: `original`, `no_norm`, `ignore` or `none`
    #[arg(long, value_name = "NAME", default_value = "original")]
    pub(crate) emphasis: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) model: Model,
}

#[derive(Args, Debug)]
pub(crate) struct Plot {
    #[command(subcommand)]
    pub(crate) what: Plotted,
}

/// What can be plotted.
#[derive(Debug, Subcommand)]
pub(crate) enum Plotted {
    /// Draw the noise levels of schedules as curves
    Schedule(PlotSchedule),
}

#[derive(Args, Debug)]
pub(crate) struct PlotSchedule {
    /// Names from `petal list schedulers` [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The .svg file to write, or `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "schedules.svg")]
    pub(crate) output: PathBuf,
    /// Steps from noise to picture
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) steps: u32,
    /// The sampler that `automatic` and `model` are for
    #[arg(long, value_name = "NAME")]
    pub(crate) sampler: Option<String>,
    #[command(flatten)]
    pub(crate) model: Model,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  petal grid --x sampler=euler,heun --y steps=10,20,40 \"a dog\"\n  \
                        petal grid --x \"prompt=a dog|a cat\" --y seed=1-4 -o pets.png\n\n\
                        A grid that was interrupted goes on with the same command. Not so with `-s -1`, which chooses\n\
                        another seed each time: all cells are drawn anew.")]
pub(crate) struct Grid {
    /// What the pictures show; `-` reads it from standard input
    #[arg(conflicts_with = "prompt_flag")]
    prompt: Option<String>,
    /// What the pictures show, as a flag
    #[arg(short = 'p', long = "prompt", value_name = "PROMPT")]
    prompt_flag: Option<String>,
    /// What varies from column to column, in place of its flag
    #[arg(long, value_name = "FIELD=VALUES", required_unless_present = "y", long_help = AXIS_HELP)]
    pub(crate) x: Option<String>,
    /// What varies from row to row
    #[arg(long, value_name = "FIELD=VALUES")]
    pub(crate) y: Option<String>,
    /// The .png file to write; the cells are kept in a folder beside it until it is whole
    #[arg(short, long, value_name = "FILE", default_value = "grid.png")]
    pub(crate) output: PathBuf,
    /// Keep the folder with the cells, each a picture that says what made it
    #[arg(long)]
    pub(crate) keep_cells: bool,
    /// Print one JSON object for each cell, and one for the grid
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but the path and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Args, Debug)]
pub(crate) struct Redraw {
    /// A file that says what made it
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// What the picture shows instead; `-` reads it from standard input
    #[arg(short, long, value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
    /// The starting noise, for a picture that was drawn from a file of it
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) results: Results,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// A file that says what made it
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// The starting noise, for a picture that was drawn from a file of it
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    /// The picture that it was drawn over
    #[arg(short, long, value_name = "FILE")]
    pub(crate) init_img: Option<ImageSource>,
    /// The mask of that picture
    #[arg(long, value_name = "FILE|alpha")]
    pub(crate) mask: Option<ImageSource>,
    /// The folder of the autoencoder that it was drawn with in place of the model's own
    #[arg(long, value_name = "DIR")]
    pub(crate) vae: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but the result and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) load: Load,
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

impl Grid {
    /// The prompt as typed; `-` means standard input.
    pub(crate) fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref().or(self.prompt_flag.as_deref())
    }
}

/// What an axis is.
const AXIS_HELP: &str = "What varies from column to column, in place of its flag: a field of the request as `--json` \
    names it, and its values, as in sampler=euler,heun or steps=10,20,40. Whole numbers may be ranges, as in seed=1-4. \
    Prompts, and fields that are lists, have a bar between their values: \"prompt=a dog|a cat\", \
    \"cfg_schedule=9,7,3|7,7,7\"";

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
