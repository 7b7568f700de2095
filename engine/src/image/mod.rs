//! Pictures as files: pixels, and what they say of themselves.
mod animation;
mod cell;
mod comfyui;
mod comparison;
mod decode;
mod editing_fields;
mod exif;
mod fields;
mod format;
mod gif;
mod infotext;
mod invokeai;
mod jpeg;
mod lettering;
mod picture;
mod png;
mod read;
mod rows;
mod sheet;
mod webp;

pub use animation::AnimationFormat;
pub(crate) use animation::animation;
pub use cell::{Cell, CellPixels};
pub use comparison::Comparison;
pub use decode::picture_size;
pub use format::{EncodeOptions, FileFormat, USUAL_QUALITY, encode_bitmap};
pub use infotext::{Infotext, Origin};
pub use picture::{Picture, Seconds};
pub use read::{FileText, enlarged_texts, read_grid, read_infotext, read_texts};
pub use rows::PngRows;
pub use sheet::{Sheet, SheetRow};

/// The longest text that is read from a picture, in bytes, once unpacked.
const LONGEST_TEXT: usize = 2 << 20;
/// The keyword under which stable-diffusion-webui keeps its text.
const PARAMETERS: &str = "parameters";

/// The keyword under which a grid of pictures says what it shows.
pub(crate) const GRID: &str = "petal_grid";

/// A text of a picture, and the keyword it stands under.
type Text = (&'static str, String);
