//! Tests of petal as a whole, in one program.
#![allow(clippy::unwrap_used)] // a test that cannot go on may stop
#![allow(clippy::print_stdout)] // what was compared is told

mod conventions;
mod dice;
mod draw;
mod errors;
mod families;
mod grid;
mod hires;
mod hub;
mod images;
mod img2img;
mod inpaint;
mod inspect;
mod layering;
mod metadata;
mod models;
mod parts;
mod providers;
mod queue;
mod redraw;
mod reference;
mod runtime;
mod support;
mod tiles;
mod trace;
mod upscale;
mod wrong_exports;
