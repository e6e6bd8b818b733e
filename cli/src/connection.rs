//! How a pool is reached: from what was typed to a session.

use std::time::Duration;

use xen_source::xapi::{self, Address, Login, Pool, Settings, Trust};

use crate::advice::{Doing as _, Failure, refused};
use crate::args::LoginArgs;
use crate::password::{Ask, Password, PasswordSource};

/// Logs in to the pool that has a member at one of the addresses.
pub fn open(addresses: Vec<Address>, args: LoginArgs) -> Result<Pool, Failure> {
    let doing = || format!("cannot log in to the pool at {}", names(&addresses));
    let settings = settings(&args);
    let source = PasswordSource::of_pool(args.xapi_password_file, args.xapi_password_command);
    let prompt = format!("password of {} on {}", args.user, names(&addresses));
    let password = text(source.get(&prompt, Ask::Once).doing(doing)?)?;
    let login = Login { addresses: addresses.clone(), user: args.user, password };
    xapi::connect(login, settings).doing(doing)
}

fn settings(args: &LoginArgs) -> Settings {
    let trust = match &args.cacert {
        Some(path) => Trust::CaFile(path.clone()),
        None if !args.tls_fingerprints.is_empty() => Trust::Pinned(args.tls_fingerprints.clone()),
        None if args.insecure => Trust::Insecure,
        None => Trust::System,
    };
    Settings { stall_timeout: args.stall_timeout.map(Duration::from_secs), ..Settings::new(trust) }
}

/// XenAPI has passwords as text.
fn text(password: Password) -> Result<xapi::Password, Failure> {
    match String::from_utf8(password.to_vec()) {
        Ok(text) => Ok(xapi::Password::new(text)),
        Err(_) => refused(
            "cannot log in to the pool",
            "the password of its user is no text in UTF-8",
            "check where it comes from; nothing was done",
        ),
    }
}

fn names(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", ")
}
