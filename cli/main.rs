//! The command-line program: parse, run, print the error, choose the exit code.
mod args;
mod changes;
mod common;
mod display;
mod doctor;
mod draw;
mod grid;
mod input;
mod inspect;
mod list;
mod load;
mod models;
mod output;
mod plot;
mod preview;
mod queue;
mod redraw;
mod report;
mod runtime;
mod tokens;
mod trace;
mod upscale;
mod verify;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        None => draw::run(&arguments.draw),
        Some(Command::Draw(draw)) => draw::run(&draw),
        Some(Command::List(list)) => list::run(&list),
        Some(Command::Doctor(doctor)) => doctor::run(&doctor),
        Some(Command::Inspect(inspect)) => inspect::run(&inspect),
        Some(Command::Tokens(tokens)) => tokens::run(&tokens),
        Some(Command::Plot(plot)) => plot::run(&plot),
        Some(Command::Grid(grid)) => grid::run(&grid),
        Some(Command::Redraw(redraw)) => redraw::run(&redraw),
        Some(Command::Verify(verify)) => verify::run(&verify),
        Some(Command::Upscale(upscale)) => upscale::run(&upscale),
        Some(Command::Models(models)) => models::run(&models),
        Some(Command::Runtime(runtime)) => runtime::run(&runtime),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::failure(&failure),
    }
}
