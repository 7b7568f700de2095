//! Tests of petal as a whole, in one program.
#![allow(clippy::unwrap_used)] // a test that cannot go on may stop

mod draw;
mod errors;
mod layering;
mod metadata;
mod models;
mod support;
