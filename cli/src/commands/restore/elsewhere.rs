//! What lives in the other pools of the configuration: uuids are to be there once.

use repo_format::snapshot::Snapshot;
use xen_source::xapi::{Address, Pool, XapiError};

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{LoginArgs, PoolArgs};
use crate::connection;
use crate::job::Job;

/// What `question` finds in every pool of the configuration, by the pool's name. A pool that cannot
/// be asked stops nothing: in a disaster it is gone. `about` says what it is asked for.
pub fn ask<T>(
    job: &Job,
    about: &str,
    question: impl Fn(&Pool) -> Result<T, XapiError>,
) -> Result<Vec<(String, T)>, Failure> {
    let mut answers = Vec::new();
    for name in job.config.pool_names() {
        let doing = || format!("cannot ask pool {name} for {about}");
        let address = Address::parse(name).doing(doing)?;
        let args = PoolArgs { pool: vec![address], login: LoginArgs::default() };
        let asked = connection::open(job, args).and_then(|pool| question(&pool).doing(doing));
        match asked {
            Ok(answer) => answers.push((name.to_owned(), answer)),
            Err(failure) => job
                .report
                .remark(&format!("pool {name} was not asked for {about}: {}\n", failure.cause())),
        }
    }
    Ok(answers)
}

/// Refuses to give the VM of `snapshot` its uuid back in `pool` while another pool has it.
pub fn check_vm(job: &Job, pool: &Pool, snapshot: &Snapshot, doing: String) -> Result<(), Failure> {
    let (own, uuid) = (pool.record().uuid, snapshot.origin.vm_uuid.as_deref().unwrap_or_default());
    let found = ask(job, "the VM", |other| {
        let vms = if other.record().uuid == own { Vec::new() } else { other.vms()? };
        Ok(vms.into_iter().find(|vm| vm.record.uuid == uuid).map(|vm| vm.record.name))
    })?;
    match found.into_iter().find_map(|(other, name)| Some((other, name?))) {
        None => Ok(()),
        Some((other, name)) => refused(
            doing,
            format!("pool {other} has the VM {name} with the uuid {uuid}"),
            "two VMs with one uuid and the same network addresses disturb each other. Leave \
             --keep-uuid out, remove that VM, or agree with --allow-duplicate-uuid; nothing was \
             done",
        ),
    }
}
