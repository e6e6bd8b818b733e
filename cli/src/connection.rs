//! How a pool is reached: from what was typed and what the configuration says to a session.

use std::time::Duration;

use xen_source::xapi::{self, Address, DataChannel, HostMap, Login, Pool, Settings, Trust};

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{LoginArgs, PoolArgs};
use crate::config::{Config, PoolProfile};
use crate::job::Job;
use crate::password::{Ask, Password, PasswordSource, Whose};

/// How a pool is reached.
#[derive(Debug)]
pub struct Way {
    /// Members, in the order in which they are tried.
    pub addresses: Vec<Address>,
    /// How they are talked to.
    pub settings: Settings,
    user: String,
    password: PasswordSource,
}

/// Logs in to the pool that was named, or else to that of the configuration.
pub fn open(job: &Job, args: PoolArgs) -> Result<Pool, Failure> {
    Way::find(&job.config, args)?.log_in(job)
}

impl Way {
    /// Decides which pool is meant, and how it is reached: what was typed goes before the
    /// environment, and that before the configuration.
    pub fn find(config: &Config, args: PoolArgs) -> Result<Self, Failure> {
        let PoolArgs { pool, login } = args;
        let profile = profile(config, &pool)?;
        let addresses = match profile {
            Some(profile) => profile.addresses.clone(),
            None => pool,
        };
        check_transport(&login)?;
        let settings = settings(&login, profile);
        let configured = profile.and_then(|profile| profile.password.clone());
        let password = PasswordSource::of_pool(
            login.xapi_password_file,
            login.xapi_password_command,
            configured,
        );
        let configured = profile.and_then(|profile| profile.user.clone());
        let user = login.user.or(configured).unwrap_or_else(|| "root".to_owned());
        Ok(Self { addresses, settings, user, password })
    }

    /// Logs in.
    pub fn log_in(&self, job: &Job) -> Result<Pool, Failure> {
        let names = self.names();
        let doing = || format!("cannot log in to the pool at {names}");
        job.report.remark(&self.password.exposure().unwrap_or_default());
        let prompt = format!("password of {} on {names}", self.user);
        let password = self.password.get(Whose::PoolUser, &prompt, Ask::Once).doing(doing)?;
        let password = text(password)?;
        let (addresses, user) = (self.addresses.clone(), self.user.clone());
        let login = Login { addresses, user, password };
        xapi::connect(login, self.settings.clone()).doing(doing)
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    fn names(&self) -> String {
        self.addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The profile that is meant. A name of the configuration goes before the same name of a host;
/// whoever means the host adds its port.
fn profile<'c>(config: &'c Config, typed: &[Address]) -> Result<Option<&'c PoolProfile>, Failure> {
    let named = |address: &Address| config.pool(&address.to_string());
    match typed {
        [] => match config.default_pool() {
            Some((_, profile)) => Ok(Some(profile)),
            None => refused(
                "cannot tell which pool is meant",
                "none was named",
                "name it with --pool, or as pool under [defaults] in the configuration",
            ),
        },
        [one] => Ok(named(one)),
        several => match several.iter().find(|address| named(address).is_some()) {
            None => Ok(None),
            Some(name) => refused(
                "cannot tell which pool is meant",
                format!("{name} is a pool of the configuration, and other members stand beside it"),
                "name it alone, or only members; a host of that name is meant by NAME:443",
            ),
        },
    }
}

/// Whoever types it must know what it means; in the configuration it was thought about.
fn check_transport(login: &LoginArgs) -> Result<(), Failure> {
    match login.transport {
        Some(DataChannel::Plain { .. }) if !login.i_trust_this_network => refused(
            "cannot use plain HTTP",
            "whoever listens on the network sees the disks, and the session, and can use it",
            "if nobody does, say so with --i-trust-this-network; nothing was done",
        ),
        _ => Ok(()),
    }
}

fn settings(login: &LoginArgs, profile: Option<&PoolProfile>) -> Settings {
    let typed = match &login.cacert {
        Some(path) => Some(Trust::CaFile(path.clone())),
        None if !login.tls_fingerprints.is_empty() => {
            Some(Trust::Pinned(login.tls_fingerprints.clone()))
        }
        None => login.insecure.then_some(Trust::Insecure),
    };
    let trust = typed.or_else(|| profile?.trust.clone()).unwrap_or(Trust::System);
    let host_map = profile.map(|profile| profile.host_map.clone()).unwrap_or_default();
    let stall_timeout = login.stall_timeout.map(Duration::from_secs);
    Settings {
        stall_timeout: stall_timeout.or_else(|| profile?.stall_timeout),
        data: login.transport.or_else(|| profile?.data).unwrap_or(DataChannel::Tls),
        host_map: host_map.with(login.host_map.iter().cloned().collect::<HostMap>()),
        ..Settings::new(trust)
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        pool: PoolArgs,
    }

    const CONFIG: &str = "
        [pool.prod]
        url = ['xs1', 'xs2:8443']
        user = 'backup'
        password_file = '/prod.pw'
        insecure = true
        transport = 'http'
        stall_timeout = 60
        host_map = { a = '10.0.0.1', b = '10.0.0.2' }
    ";

    fn find(config: &str, typed: &[&str]) -> Result<Way, Failure> {
        let config = Config::parse(config, Path::new("/c"), None).expect("it is right");
        let typed = Typed::try_parse_from([&["x"], typed].concat()).expect("it is typed well");
        Way::find(&config, typed.pool)
    }

    #[track_caller]
    fn check_members(config: &str, typed: &[&str], expected: &str) {
        let found = find(config, typed).map(|way| way.names());
        assert_eq!(found.unwrap_or_else(|_| "refused".to_owned()), expected, "{typed:?}");
    }

    #[test]
    fn a_profile_is_meant_by_its_name_alone() {
        check_members(CONFIG, &["--pool", "prod"], "xs1, xs2:8443");
        check_members(CONFIG, &["--pool", "prod:443"], "prod:443");
        check_members(CONFIG, &["--pool", "other,third"], "other, third");
        check_members(CONFIG, &["--pool", "prod,other"], "refused");
        check_members(CONFIG, &[], "refused");
        let with_default = format!("{CONFIG}\n[defaults]\npool = 'prod'");
        check_members(&with_default, &[], "xs1, xs2:8443");
        check_members(&with_default, &["--pool", "other"], "other");
    }

    #[test]
    fn a_profile_says_what_was_not_typed() {
        let way = find(CONFIG, &["--pool", "prod"]).expect("a way");
        assert_eq!(way.user(), "backup");
        assert!(matches!(way.settings.trust, Trust::Insecure));
        assert_eq!(way.settings.data, DataChannel::Plain { port: 80 });
        assert_eq!(way.settings.stall_timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_was_typed_goes_before_the_profile() {
        let typed = "--pool prod --xapi-user ann --cacert /ca --transport https --stall-timeout 5 \
            --xapi-password-file /ann.pw --host-map b=10.0.0.9,c=10.0.0.3";
        let way = find(CONFIG, &typed.split_whitespace().collect::<Vec<_>>()).expect("a way");
        assert_eq!(way.user(), "ann");
        assert_eq!(way.password, PasswordSource::File("/ann.pw".into()));
        assert!(matches!(&way.settings.trust, Trust::CaFile(path) if path == Path::new("/ca")));
        assert_eq!(way.settings.data, DataChannel::Tls);
        assert_eq!(way.settings.stall_timeout, Some(Duration::from_secs(5)));
        let map = &way.settings.host_map;
        let ips = ["a", "b", "c"].map(|name| map.get(name).map(|ip| ip.to_string()));
        assert_eq!(ips.map(Option::unwrap_or_default), ["10.0.0.1", "10.0.0.9", "10.0.0.3"]);
    }

    #[test]
    fn without_a_profile_there_are_usual_values() {
        let way = find("", &["--pool", "xs1"]).expect("a way");
        assert_eq!((way.user(), way.settings.data), ("root", DataChannel::Tls));
        assert!(matches!(way.settings.trust, Trust::System));
    }

    #[test]
    fn plain_http_is_typed_with_a_promise() {
        assert!(find("", &["--pool", "x", "--transport", "http"]).is_err());
        let typed = ["--pool", "x", "--transport", "http:8080", "--i-trust-this-network"];
        let way = find("", &typed).expect("a way");
        assert_eq!(way.settings.data, DataChannel::Plain { port: 8080 });
    }
}
