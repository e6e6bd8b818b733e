//! `stats`: what the repository holds and what that costs.

use engine::reader::Reader;
use engine::snapshots::Filter;
use engine::stats::{Stats, stats};
use serde::Serialize;

use crate::advice::{Doing as _, Failure};
use crate::args::StatsArgs;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::selection;
use crate::size;

/// Sizes and counts, as JSON.
#[derive(Debug, Serialize)]
struct StatsEntry {
    snapshots: u64,
    virtual_bytes: u64,
    data_bytes: u64,
    data_packs: u64,
    data_pack_bytes: u64,
    uncompressed_bytes: u64,
    map_packs: u64,
    map_pack_bytes: u64,
    print_packs: u64,
    print_pack_bytes: u64,
    index_objects: u64,
    index_bytes: u64,
    total_bytes: u64,
}

/// Adds it up.
pub fn run(job: &Job, args: StatsArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    let filter = Filter::from(args.filter);
    let mut chosen = selection::all(&repository)?;
    if args.snapshots.is_empty() {
        chosen.retain(|snapshot| filter.accepts(snapshot));
    } else {
        let named = args.snapshots.iter();
        let named = named.map(|text| selection::among(&chosen, text, &filter).cloned());
        chosen = named.collect::<Result<_, _>>()?;
    }
    let doing = || format!("cannot add up {}", repository.storage().location());
    let stats =
        Reader::open(&repository).and_then(|reader| stats(&reader, &chosen)).doing(doing)?;
    job.report.answer(&text(&stats), &StatsEntry::from(stats))?;
    Ok(Exit::Done)
}

fn text(stats: &Stats) -> String {
    let ratio = |over: u64, under: u64| over as f64 / under.max(1) as f64;
    let (data, packs) = (size::bytes(stats.data_bytes), size::bytes(stats.data_pack_bytes));
    format!(
        "{}: {} on disks, {data} of it data\n\
         stored: {packs} in {}, {} before compression ({:.2}:1)\n\
         catalog: {} in {}, {} in {}, {} in {}\n\
         repository: {}; a stored byte serves {:.1} bytes of data\n",
        size::plural(stats.snapshots, "snapshot"),
        size::bytes(stats.virtual_bytes),
        size::plural(stats.data_packs, "data pack"),
        size::bytes(stats.uncompressed_bytes),
        ratio(stats.uncompressed_bytes, stats.data_pack_bytes),
        size::bytes(stats.map_pack_bytes),
        size::plural(stats.map_packs, "map pack"),
        size::bytes(stats.print_pack_bytes),
        size::plural(stats.print_packs, "print pack"),
        size::bytes(stats.index_bytes),
        size::plural(stats.index_objects, "index object"),
        size::bytes(stats.total_bytes),
        ratio(stats.data_bytes, stats.total_bytes),
    )
}

impl From<Stats> for StatsEntry {
    fn from(stats: Stats) -> Self {
        Self {
            snapshots: stats.snapshots,
            virtual_bytes: stats.virtual_bytes,
            data_bytes: stats.data_bytes,
            data_packs: stats.data_packs,
            data_pack_bytes: stats.data_pack_bytes,
            uncompressed_bytes: stats.uncompressed_bytes,
            map_packs: stats.map_packs,
            map_pack_bytes: stats.map_pack_bytes,
            print_packs: stats.print_packs,
            print_pack_bytes: stats.print_pack_bytes,
            index_objects: stats.index_objects,
            index_bytes: stats.index_bytes,
            total_bytes: stats.total_bytes,
        }
    }
}
