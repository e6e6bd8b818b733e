//! `man`: manual pages.

use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::advice::{Doing as _, Failure, Fault};
use crate::args::{Args, ManArgs};
use crate::exit::Exit;
use crate::report;

/// Prints the main page, or writes all.
pub fn run(args: ManArgs) -> Result<Exit, Failure> {
    match args.directory {
        Some(directory) => write_all(&directory)?,
        None => {
            let mut page = Vec::new();
            let rendered = Man::new(Args::command()).render(&mut page);
            rendered.map_err(Fault::Print).doing(|| "cannot print the manual page".to_owned())?;
            report::print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(Exit::Done)
}

fn write_all(directory: &Path) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Args::command(), directory));
    written
        .map_err(Fault::File)
        .doing(|| format!("cannot write the manual pages to {}", directory.display()))
}
