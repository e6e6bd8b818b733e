//! What to do about a pool that did not do what was asked.

use std::io;

use xen_source::xapi::{ApiError, XapiError};

/// The error of a pool that an error of reading carries.
pub fn behind(error: &io::Error) -> Option<&XapiError> {
    error.get_ref()?.downcast_ref()
}

/// What to do about it.
pub fn on_pool(error: &XapiError) -> String {
    let again = "nothing in the repository is damaged; /var/log/xensource.log on the host says \
                 more. Run it again";
    on(error, again)
}

/// What to do about it where something was being saved.
pub fn on_backup(error: &XapiError) -> String {
    let again = "nothing of it was saved and nothing in the repository is damaged; \
                 /var/log/xensource.log on the host says more. Run it again: what is stored \
                 already is not stored twice";
    on(error, again)
}

/// `again` is for what may go well the next time.
fn on(error: &XapiError, again: &str) -> String {
    match error {
        XapiError::Address { .. }
        | XapiError::CaFile { .. }
        | XapiError::Tls { .. }
        | XapiError::Certificate { .. }
        | XapiError::Unreachable { .. }
        | XapiError::OtherPool { .. }
        | XapiError::NoCoordinator { .. } => on_connection(error),
        XapiError::NbdClear { .. } => "nothing was sent to it; give the network the purpose `nbd` \
                                       instead of `insecure_nbd`"
            .to_owned(),
        XapiError::Untracked { .. } => {
            "nothing of the VM was read; without tracking required, the \
                                        disk is read as a whole, and then its changes can be told"
                .to_owned()
        }
        XapiError::NoVm { .. } => "`xenith vms` lists what there is".to_owned(),
        XapiError::NotSuspendable { .. }
        | XapiError::NoShutdown { .. }
        | XapiError::ShutdownLeft { .. }
        | XapiError::UnknownPower { .. }
        | XapiError::NotBack { .. }
        | XapiError::NoSnapshot { .. }
        | XapiError::WholeTemplate { .. }
        | XapiError::NoRoom { .. }
        | XapiError::NotAttached { .. } => on_snapshot(error),
        XapiError::Refused { error, .. } | XapiError::TaskFailed { error, .. } => on_refusal(error),
        XapiError::Status { .. }
        | XapiError::Redirect { .. }
        | XapiError::Answer { .. }
        | XapiError::Record { .. }
        | XapiError::TaskCancelled { .. }
        | XapiError::TaskLost { .. }
        | XapiError::TaskPending { .. }
        | XapiError::Page { .. }
        | XapiError::Length { .. }
        | XapiError::NbdAbsent
        | XapiError::NbdRefused { .. }
        | XapiError::NbdRead { .. }
        | XapiError::Stream { .. } => again.to_owned(),
    }
}

/// What to do about a pool that cannot be reached, or not safely.
fn on_connection(error: &XapiError) -> String {
    match error {
        XapiError::Address { .. } => "write it as HOST or HOST:PORT; nothing was done".to_owned(),
        XapiError::CaFile { .. } => {
            "--cacert takes certificates in PEM; nothing was done".to_owned()
        }
        XapiError::Tls { .. } => "if this system has no authorities, name them with --cacert or \
                                  pin the hosts with --tls-fingerprint; nothing was done"
            .to_owned(),
        XapiError::Certificate { found, .. } => format!(
            "nothing was sent to it. If it is the right host (there, `openssl x509 -noout \
             -fingerprint -sha256 -in /etc/xensource/xapi-ssl.pem` prints the same), trust it with \
             --tls-fingerprint sha256:{found}, or its authority with --cacert"
        ),
        XapiError::Unreachable { .. } if error.unresolved().is_some() => {
            "nothing in the repository is damaged; the configuration has no pool of that name, and \
             no host is known by it. Members of a pool send callers to each other by name, so this \
             machine must know all of them: put them into its DNS or /etc/hosts, or name the \
             address with --host-map NAME=IP (host_map in the configuration)"
                .to_owned()
        }
        XapiError::Unreachable { .. } => {
            "nothing in the repository is damaged; check address, port and firewall, and whether \
             the host's toolstack runs. --pool takes several members, with commas"
                .to_owned()
        }
        _ => "nothing in the repository is damaged; look at the pool: its members disagree about \
             who leads it"
            .to_owned(),
    }
}

/// What to do about a VM that cannot be taken as was asked.
fn on_snapshot(error: &XapiError) -> String {
    let advice = match error {
        XapiError::NotBack { state, .. } => {
            return format!(
                "it was {state} before this backup: see to it now. `xenith cleanup` tries again \
                 to start it, and so does its next backup"
            );
        }
        XapiError::NotSuspendable { .. } => {
            "its guest may lack Xen's tools, or it has a device of the host's. Take it with \
             --mode hot or --mode cold"
        }
        XapiError::NoShutdown { .. } => {
            "nothing was forced; it may still shut down, so look at it. Take it with --mode hot, \
             or shut it down yourself"
        }
        XapiError::ShutdownLeft { .. } => {
            "nothing was forced. If it goes down all the same, its next backup starts it again, and \
             so does `xenith cleanup`"
        }
        XapiError::UnknownPower { .. } => "take it with --mode hot",
        XapiError::NoSnapshot { .. } => {
            "leave the disk out with --exclude-disk, and save what is on it by other means"
        }
        XapiError::WholeTemplate { .. } => "save it without --exclude-disk",
        XapiError::NoRoom { .. } => {
            "make room there, or take the snapshot all the same with --force"
        }
        _ => "plug the storage into a host",
    };
    format!("nothing was saved of this VM and nothing in the repository is damaged; {advice}")
}

/// What a refusal means, by its code (contract 9).
pub fn on_refusal(error: &ApiError) -> String {
    let advice = match error.code.as_str() {
        "SESSION_AUTHENTICATION_FAILED" => {
            return "check --xapi-user and where its password comes from; nothing was done"
                .to_owned();
        }
        "RBAC_PERMISSION_DENIED" if is_for_admins(error) => {
            "the user needs the role pool-admin (/var/log/xensource.log on the host tells of it, too)"
        }
        "RBAC_PERMISSION_DENIED" => {
            "the user needs the role vm-power-admin or a higher one (/var/log/xensource.log on the \
             host tells of it, too)"
        }
        "HOST_IN_EMERGENCY_MODE" => "the host has lost its coordinator; name another member",
        "HANDLE_INVALID" | "UUID_INVALID" => {
            "it is gone from the pool; `xenith vms` lists what there is"
        }
        "SR_BACKEND_FAILURE_44" | "SR_FULL" => {
            "make room on the storage repository: a snapshot needs some. /var/log/SMlog on the host \
             says more"
        }
        "HOST_NOT_ENOUGH_FREE_MEMORY" | "NO_HOSTS_AVAILABLE" => {
            "no host has all that the VM needs: memory, its storage and its networks"
        }
        "OTHER_OPERATION_IN_PROGRESS" | "VDI_IN_USE" => {
            "something else works on it; run it again later"
        }
        code if code.starts_with("SR_BACKEND_FAILURE") => {
            "/var/log/SMlog on the host says what its storage met"
        }
        code => {
            super::recovery::on_code(code).unwrap_or("/var/log/xensource.log on the host says more")
        }
    };
    format!("nothing in the repository is damaged; {advice}")
}

/// Whether a permission that was denied is one for the database or the system of a host.
fn is_for_admins(error: &ApiError) -> bool {
    let permission = error.params.first().map_or("", String::as_str);
    permission.contains("_xml") || permission.contains("host_backup")
}
