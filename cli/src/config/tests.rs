//! What the file means, and what is refused with the place where it stands.

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/c.toml"), Some(Path::new("/home/ann")))
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = parse(text).expect_err("it is wrong").to_string();
    assert!(error.contains(expected), "{text}\n gives: {error}\nwanted: {expected}");
}

#[test]
fn a_file_of_everything_is_understood() {
    let config = parse(
        r#"
        [pool.prod]
        url = ["https://xs1.lan", "xs2.lan:8443"]
        user = "backup"
        password_file = "~/prod.pw"
        fingerprints = "sha256:0000000000000000000000000000000000000000000000000000000000000001"
        transport = "http"
        stall_timeout = 600
        host_map = { "XS2.lan" = "10.0.0.2" }

        [repository.nas]
        path = "/mnt/nas/xen"
        password_command = "pass xen"
        cache_dir = "~/cache"
        compression = "max"

        [defaults]
        pool = "prod"
        repository = "nas"
        "#,
    )
    .expect("it is right");
    let (name, pool) = config.default_pool().expect("a pool");
    let addresses: Vec<String> = pool.addresses.iter().map(Address::to_string).collect();
    assert_eq!((name, addresses), ("prod", vec!["xs1.lan".to_owned(), "xs2.lan:8443".to_owned()]));
    assert_eq!(pool.user.as_deref(), Some("backup"));
    assert_eq!(pool.password, Some(PasswordSource::File("/home/ann/prod.pw".into())));
    assert!(matches!(&pool.trust, Some(Trust::Pinned(pins)) if pins.len() == 1));
    assert_eq!(pool.data, Some(DataChannel::Plain { port: 80 }));
    assert_eq!(pool.stall_timeout, Some(Duration::from_secs(600)));
    assert_eq!(pool.host_map.get("xs2.LAN"), Some([10, 0, 0, 2].into()));
    let repository = config.default_repository().expect("a repository");
    assert_eq!(repository.path, Path::new("/mnt/nas/xen"));
    assert_eq!(repository.password, Some(PasswordSource::Command("pass xen".into())));
    assert_eq!(repository.cache_dir.as_deref(), Some(Path::new("/home/ann/cache")));
    assert_eq!(repository.compression, Some(CompressionLevel::Max));
}

#[test]
fn an_empty_file_says_nothing() {
    let config = parse("").expect("it is right");
    assert!(config.default_pool().is_none() && config.default_repository().is_none());
}

#[test]
fn what_is_wrong_is_told_with_file_and_line_or_key() {
    let rows = [
        ("[pool.p]\nurl = 'x'\nusr = 'root'", "/c.toml, line 3: unknown field `usr`"),
        ("[pools.p]\nurl = 'x'", "/c.toml, line 1: unknown field `pools`"),
        ("[defaults]\nrepo = 'x'", "/c.toml, line 2: unknown field `repo`"),
        ("[pool.p]", "missing field `url`"),
        ("[pool.p]\nurl = []", "`url` names no member"),
        ("[pool.p]\nurl = 'root@x'", "/c.toml, line 2: root@x is not the address of a host"),
        ("[pool.p]\nurl = 7", "a string or a list of strings"),
        ("[pool.p]\nurl = 'x'\nfingerprint = ['12']", "line 3: `12` has no 64 hexadecimal digits"),
        ("[pool.p]\nurl = 'x'\ntransport = 'ftp'", "line 3: `ftp` is neither https"),
        ("[pool.p]\nurl = 'x'\nstall_timeout = 0", "line 3: `stall_timeout`"),
        ("[pool.p]\nurl = 'x'\nhost_map = { y = 'z' }", "line 3: "),
        ("[pool.p]\nurl = 'x'\nca_file = '/a'\ninsecure = true", "pool.p: only one of ca_file"),
        (
            "[pool.p]\nurl = 'x'\npassword_file = '/a'\npassword_command = 'b'",
            "/c.toml: pool.p: only one of password_file",
        ),
        ("[pool.p]\nurl = 'x'\nca_file = 'a'", "pool.p: `a` is no path that begins with /"),
        ("[pool.'p q']\nurl = 'x'", "pool.p q: a name has letters"),
        ("[repository.r]\npath = 's3:bucket'", "repository.r: `s3:bucket` is no path"),
        ("[repository.r]\npath = '/r'\ncompression = 'best'", "line 3: `best` is not one of off"),
        ("[defaults]\npool = 'p'", "defaults.pool: there is no [pool.p]"),
        ("[defaults]\nrepository = 'r'", "defaults.repository: there is no [repository.r]"),
        ("[pool.p]\nurl = 'x'\nurl = 'y'", "line 3: duplicate key"),
        ("[pool.p\n", "line 1: "),
    ];
    for (text, expected) in rows {
        check_refused(text, expected);
    }
}

#[test]
fn a_password_in_the_file_is_refused_and_not_repeated() {
    for kind in ["pool.p]\nurl = 'x'", "repository.r]\npath = '/r'"] {
        for value in ["'hunter2'", "hunter2", "'hunter2", "[ 'hunter2' ]", "'a' hunter2"] {
            let error = parse(&format!("[{kind}\npassword = {value}\n")).expect_err("it is wrong");
            let told = format!("{error} {error:?}");
            assert!(told.contains("line 3") && !told.contains("hunter2"), "{told}");
        }
        check_refused(&format!("[{kind}\npassword = 'x'"), "name a password_file");
    }
}

#[test]
fn hostile_text_gets_a_verdict() {
    let deep = format!("a = {}", "[".repeat(100_000));
    let wide = "[pool.p]\n".repeat(10_000);
    for text in [&*deep, &*wide, "\u{0}", "\u{feff}x", "[[pool]]", "pool = 1", "a.b.c = 1", "="] {
        assert!(parse(text).is_err());
    }
}

#[test]
fn a_home_is_needed_only_where_it_is_named() {
    let parse = |text: &str| Config::parse(text, Path::new("/c.toml"), None);
    assert!(parse("[repository.r]\npath = '/r'").is_ok());
    let error = parse("[repository.r]\npath = '~/r'").expect_err("there is no home");
    assert!(error.to_string().contains("HOME is not set"), "{error}");
}

#[test]
fn ones_own_file_goes_before_that_of_the_system() {
    let places = |xdg: Option<&str>, home: Option<&str>| {
        usual_places(xdg.map(PathBuf::from), home.map(PathBuf::from))
    };
    let system = Path::new("/etc/xenith/config.toml");
    assert_eq!(places(None, None), [system]);
    let home = Path::new("/home/ann/.config/xenith/config.toml");
    assert_eq!(places(None, Some("/home/ann")), [home, system]);
    assert_eq!(places(Some("/x"), Some("/home/ann")), [Path::new("/x/xenith/config.toml"), system]);
}

#[test]
fn a_file_that_was_named_must_be_there_and_not_be_endless() {
    let load = |path: &str| Config::load(Some(Path::new(path)));
    assert!(matches!(load("/nonexistent/c.toml"), Err(ConfigError::Read { .. })));
    assert!(matches!(load("/dev/zero"), Err(ConfigError::Read { .. })));
    assert!(load("/dev/null").is_ok());
}
