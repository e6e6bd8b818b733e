//! `xenith`: backs up XenServer and XCP-ng VMs into encrypted, deduplicated repositories.
//!
//! `args` is what was typed, `job` what is meant by it. `commands` call the engine and hand the
//! results to `report`. Errors are told once, by `advice`. Inside the crate a module uses only
//! those in the groups above its own.
#![forbid(unsafe_code)]

mod clock;
mod exit;
mod size;
mod text;

mod args;
mod hooks;
mod interrupt;
mod password;

mod config;

mod advice;

mod pattern;

mod left_out;

mod report;

mod place;

mod job;
mod progress;

mod confirmation;
mod connection;
mod record;
mod selection;

mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::of_usage(&error).into(),
    };
    let form = if args.global.json { text::Form::Json } else { text::Form::Text };
    let ended = job::Job::resolve(args.global).and_then(|job| commands::run(&job, args.command));
    ended.unwrap_or_else(|failure| failure.tell(form)).into()
}
