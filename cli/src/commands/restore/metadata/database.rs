//! The database of a pool, into a pool: compared, asked about, tried by the pool, and then done.

use xen_source::xapi::recovery::comparison::{self, Difference, Target};
use xen_source::xapi::recovery::{self, Rehearsal, identity};

use super::Way;
use super::words::DifferenceEntry;
use crate::advice::{Doing as _, Failure, refused};
use crate::commands::database as stored;
use crate::commands::restore::elsewhere;
use crate::confirmation::confirm;
use crate::exit::Exit;

/// Restores it. A rehearsal ends with exit code 3 if the pool would refuse it.
pub fn restore(way: &Way<'_>) -> Result<Exit, Failure> {
    let dump = stored::read(way.job, way.repository, way.snapshot)?;
    let target = Target::of(way.pool).doing(|| way.doing())?;
    let found = comparison::compare(&dump, &target);
    let entries: Vec<_> = found.iter().map(DifferenceEntry::of).collect();
    for entry in &entries {
        way.job.report.step(&entry.text())?;
    }
    let others = elsewhere::ask(way.job, "hosts of the database", identity::living)?;
    let own = identity::living(way.pool).doing(|| way.doing())?;
    let duplicates = identity::duplicates(&dump, &own, &others);
    if let Some((host, pool)) = duplicates.first()
        && !way.order.allow_duplicate_uuid
    {
        return refused(
            way.doing(),
            format!("host {host} of the database is alive in pool {pool}"),
            "two hosts with one uuid disturb each other and whatever manages them. Shut that pool \
             down for good, or agree with --allow-duplicate-uuid; nothing was done",
        );
    }
    let stops = found.iter().any(Difference::stops);
    if stops && !way.order.dry_run && !way.order.force {
        let stopping = entries.iter().filter(|entry| entry.stops).map(|entry| &*entry.message);
        return refused(
            way.doing(),
            format!(
                "the pool will refuse the database: {}",
                stopping.collect::<Vec<_>>().join("; ")
            ),
            "put that right first, or let the pool decide with --force; nothing was done",
        );
    }
    let tried = put(way, Rehearsal::Dry);
    if way.order.dry_run {
        let fits = tried.is_ok() && !stops;
        if let Err(failure) = tried {
            failure.tell(way.job.report.form);
        }
        let text = match fits {
            true => "the pool would take the database; nothing was changed\n",
            false => "the pool would not take the database as it is; nothing was changed\n",
        };
        way.tell(text, stored::CONTAINER, fits, entries, Vec::new())?;
        return Ok(if fits { Exit::Done } else { Exit::Partly });
    }
    tried?;
    let coordinator = target.hosts.first().map_or("the coordinator", |(_, name)| name);
    let what = format!(
        "the database of this pool will be replaced, {coordinator} restarts, and all other hosts \
         have to join again"
    );
    confirm(way.order.yes, &way.doing(), &what, "replace")?;
    put(way, Rehearsal::Real)?;
    let text = format!(
        "the database is restored: {coordinator} restarts in 30 seconds, and other hosts have to \
         join again\nto go on: `xenith dr runbook {}` prints the steps\n",
        way.snapshot.id
    );
    way.tell(&text, stored::CONTAINER, true, entries, Vec::new())?;
    Ok(Exit::Done)
}

fn put(way: &Way<'_>, rehearsal: Rehearsal) -> Result<(), Failure> {
    let place = stored::place(way.snapshot)?;
    let length_bytes = way.snapshot.disks[place].size_bytes;
    let import = recovery::database(way.pool, length_bytes, rehearsal).doing(|| way.doing())?;
    way.send(place, import).map(drop)
}
