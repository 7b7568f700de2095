//! Pictures in terminals.
use crate::{args::Show, report};
use base64::{Engine, prelude::BASE64_STANDARD};
use petal_engine::Bitmap;
use std::{env, fmt::Write};

/// The widest picture made of half blocks, in characters.
const WIDEST: u32 = 64;
/// Lines that a picture takes in terminals that can show pictures.
const GRAPHIC_LINES: u32 = 16;
/// Bytes of base64 in one message of the kitty protocol.
const KITTY_PIECE: usize = 4096;

/// A place in the terminal where a picture comes to be.
#[derive(Debug)]
pub(crate) struct Display {
    how: Show,
    /// Lines that the picture before takes, to be drawn over.
    lines: u32,
}

impl Display {
    /// A place in the terminal; none when nobody asked for a kind and standard error is no terminal.
    pub(crate) fn new(show: Show) -> Option<Self> {
        let how = match show {
            Show::Auto if !report::has_terminal() => return None,
            Show::Auto => detect(|name| env::var(name).ok()),
            named => named,
        };
        Some(Self { how, lines: 0 })
    }

    /// Shows a rough picture. How many lines a sixel picture takes is not known, so it could not be drawn over.
    pub(crate) fn update(&mut self, picture: &Bitmap) {
        if self.how != Show::Sixel {
            self.finish(picture);
        }
    }

    /// Shows a picture in the place of the one before.
    pub(crate) fn finish(&mut self, picture: &Bitmap) {
        let up = if self.lines == 0 { String::new() } else { format!("\r\x1b[{}A", self.lines) };
        let (text, lines) = match self.how {
            Show::Blocks | Show::Auto => {
                let small = picture.clone().fit(WIDEST);
                (half_blocks(&small), small.height.div_ceil(2))
            }
            Show::Kitty => (kitty(picture), GRAPHIC_LINES),
            Show::Iterm2 => (iterm2(picture), GRAPHIC_LINES),
            Show::Sixel => (sixel(picture), 0),
        };
        self.lines = lines;
        report::draw(&format!("{up}{text}"));
    }
}

/// The best that the terminal is known to have, by what it says in the environment.
fn detect(variable: impl Fn(&str) -> Option<String>) -> Show {
    let has = |name: &str, words: &[&str]| {
        variable(name).is_some_and(|value| words.iter().any(|word| value.to_lowercase().contains(word)))
    };
    if variable("KITTY_WINDOW_ID").is_some() || has("TERM", &["kitty", "ghostty"]) {
        Show::Kitty
    } else if has("TERM_PROGRAM", &["iterm", "wezterm"]) || has("LC_TERMINAL", &["iterm"]) {
        Show::Iterm2
    } else if has("TERM", &["sixel", "foot", "mlterm", "yaft"]) {
        Show::Sixel
    } else {
        Show::Blocks
    }
}

/// Two pixels to a character: the upper in the foreground, the lower in the background.
fn half_blocks(picture: &Bitmap) -> String {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let pixel = |x: usize, y: usize| picture.rgb.get((y * width + x) * 3..).and_then(|rest| rest.first_chunk::<3>());
    let mut text = String::new();
    for y in (0..height).step_by(2) {
        for x in 0..width {
            let [r, g, b] = pixel(x, y).copied().unwrap_or_default();
            let _ = write!(text, "\x1b[38;2;{r};{g};{b}m"); // writing into a String cannot fail
            let _ = match pixel(x, y + 1) {
                Some([r, g, b]) => write!(text, "\x1b[48;2;{r};{g};{b}m▀"),
                None => write!(text, "\x1b[49m▀"),
            };
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// The kitty graphics protocol: raw RGB in base64, in pieces; the same numbers each time replace the picture.
fn kitty(picture: &Bitmap) -> String {
    let data = BASE64_STANDARD.encode(&picture.rgb);
    let pieces = data.len().div_ceil(KITTY_PIECE).max(1);
    let mut text = String::new();
    for piece in 0..pieces {
        let start = piece * KITTY_PIECE;
        let part = &data[start..(start + KITTY_PIECE).min(data.len())];
        let more = u8::from(piece + 1 < pieces);
        let head = if piece == 0 {
            format!("a=T,i=1,p=1,q=2,f=24,r={GRAPHIC_LINES},s={},v={},m={more}", picture.width, picture.height)
        } else {
            format!("m={more}")
        };
        let _ = write!(text, "\x1b_G{head};{part}\x1b\\");
    }
    text + "\n"
}

/// Inline images of iTerm2: a file in base64. A binary PPM is a file that it can read.
fn iterm2(picture: &Bitmap) -> String {
    let mut file = format!("P6 {} {} 255\n", picture.width, picture.height).into_bytes();
    file.extend_from_slice(&picture.rgb);
    format!(
        "\x1b]1337;File=inline=1;height={GRAPHIC_LINES};size={}:{}\x07\n",
        file.len(),
        BASE64_STANDARD.encode(&file)
    )
}

fn sixel(picture: &Bitmap) -> String {
    let opaque: Vec<u8> = picture.rgb.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    let encoded = icy_sixel::sixel_encode(
        &opaque,
        picture.width as usize,
        picture.height as usize,
        &icy_sixel::EncodeOptions::default(),
    );
    encoded.map_or_else(|_| half_blocks(&picture.clone().fit(WIDEST)), |text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_their_environment() {
        let with = |name: &'static str, value: &'static str| detect(move |n| (n == name).then(|| value.into()));
        assert_eq!(with("TERM", "xterm-kitty"), Show::Kitty);
        assert_eq!(with("TERM_PROGRAM", "iTerm.app"), Show::Iterm2);
        assert_eq!(with("TERM", "foot"), Show::Sixel);
        assert_eq!(with("TERM", "xterm-256color"), Show::Blocks);
    }

    #[test]
    fn half_blocks_take_an_odd_last_row() {
        let picture = Bitmap::opaque(1, 3, (0..9).collect());
        assert_eq!(
            half_blocks(&picture),
            "\x1b[38;2;0;1;2m\x1b[48;2;3;4;5m▀\x1b[0m\n\x1b[38;2;6;7;8m\x1b[49m▀\x1b[0m\n"
        );
    }

    #[test]
    fn kitty_sends_long_pictures_in_pieces() {
        let text = kitty(&Bitmap::opaque(64, 64, vec![0; 64 * 64 * 3]));
        assert_eq!(text.matches("\x1b_G").count(), 4);
        assert!(text.starts_with("\x1b_Ga=T,i=1,p=1,q=2,f=24,r=16,s=64,v=64,m=1;") && text.contains("\x1b_Gm=0;"));
    }
}
