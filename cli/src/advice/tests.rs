//! Every text that people see when something fails, once.

use xen_source::xapi::ApiError;

use super::*;

#[track_caller]
fn check(fault: impl Into<Fault>, exit: Exit, expected: &str) {
    let failure = Failure { doing: "cannot do it".to_owned(), fault: fault.into() };
    assert_eq!(failure.text(), expected);
    assert_eq!(failure.exit(), exit);
}

#[test]
fn a_missing_repository_is_told_with_its_exit_code() {
    check(
        OpenError::Missing { location: "/srv/xen".to_owned() },
        Exit::NoRepository,
        "error: cannot do it\n  cause: there is no repository at /srv/xen\n  \
         hint: check --repo and XENITH_REPOSITORY; `xenith init` makes a new one\n",
    );
}

#[test]
fn a_wrong_password_is_told_with_its_exit_code() {
    check(
        OpenError::WrongPassword { location: "/srv/xen".to_owned(), slots: 2 },
        Exit::WrongPassword,
        "error: cannot do it\n  cause: the password opens none of the 2 key slots of /srv/xen\n  \
         hint: check where the password comes from; nothing was changed\n",
    );
}

#[test]
fn a_cut_input_names_the_place_and_calms() {
    check(
        SourceError::Cut { place: "Ref:41/00012034".to_owned() },
        Exit::Partly,
        "error: cannot do it\n  cause: input ends inside Ref:41/00012034\n  \
         hint: nothing was saved and nothing in the repository is damaged; \
         export again, what is stored already is not stored twice. If it happens again, \
         /var/log/xensource.log on the host that exported it says more\n",
    );
}

#[test]
fn an_unrecognised_input_fails() {
    check(
        SourceError::Unrecognised { what: "not an XVA: no ova.xml".to_owned() },
        Exit::Failed,
        "error: cannot do it\n  cause: not recognised: not an XVA: no ova.xml\n  \
         hint: nothing was saved; check what was given, or say what it is with --type (file keeps anything as it is)\n",
    );
}

#[test]
fn the_backup_role_is_told_who_may() {
    check(
        ContentError::Repository(Box::new(ContentReadError::BackupRole)),
        Exit::Failed,
        "error: cannot do it\n  cause: this password opens the backup role, which cannot read disks\n  \
         hint: nothing is damaged; give a password of the full role (see `xenith key list`)\n",
    );
}

#[test]
fn every_cause_is_told_once() {
    let source = io::Error::new(io::ErrorKind::StorageFull, "no space left");
    check(
        StorageError::Io { doing: "store", path: "/srv/xen/packs/ab/ab12".to_owned(), source },
        Exit::Failed,
        "error: cannot do it\n  cause: cannot store /srv/xen/packs/ab/ab12\n  cause: no space left\n  \
         hint: nothing is damaged; make room and run it again, what is stored already is not stored twice\n",
    );
}

#[test]
fn json_holds_the_same_words() {
    let failure = Failure { doing: "cannot do it".to_owned(), fault: PasswordError::Empty.into() };
    let message = serde_json::to_value(failure.message()).expect("it is JSON");
    let expected = serde_json::json!({
        "message_type": "error",
        "code": 1,
        "message": "cannot do it: the password is empty",
        "hint": "nothing was done; an empty password protects nothing",
    });
    assert_eq!(message, expected);
}

fn refused_by_pool(code: &str) -> XapiError {
    let error = ApiError { code: code.to_owned(), params: vec!["root".to_owned()] };
    XapiError::Refused { method: "VM.snapshot".to_owned(), error }
}

#[test]
fn a_refusal_of_the_pool_bears_its_code_and_not_that_of_a_wrong_password() {
    check(
        refused_by_pool("SESSION_AUTHENTICATION_FAILED"),
        Exit::Failed,
        "error: cannot do it\n  cause: VM.snapshot failed: SESSION_AUTHENTICATION_FAILED(root)\n  \
         hint: check --xapi-user and where its password comes from; nothing was done\n",
    );
}

#[test]
fn a_refusal_of_the_pool_is_told_also_where_a_vm_was_being_read() {
    let source = io::Error::other(refused_by_pool("RBAC_PERMISSION_DENIED"));
    check(
        SourceError::Io { place: "VM web01 of the pool".to_owned(), source },
        Exit::Failed,
        "error: cannot do it\n  cause: cannot read VM web01 of the pool\n  \
         cause: VM.snapshot failed: RBAC_PERMISSION_DENIED(root)\n  \
         hint: nothing in the repository is damaged; the user needs the role vm-power-admin or a \
         higher one (/var/log/xensource.log on the host tells of it, too)\n",
    );
}

#[test]
fn a_pool_that_does_not_say_what_became_of_it_saved_nothing_only_where_something_was_saved() {
    let lost = || XapiError::TaskLost { label: "import of web01".to_owned() };
    check(
        lost(),
        Exit::Failed,
        &format!(
            "error: cannot do it\n  cause: {}\n  hint: nothing in the repository is damaged; \
             /var/log/xensource.log on the host says more. Run it again\n",
            lost()
        ),
    );
    let source = io::Error::other(lost());
    let failure = SourceError::Io { place: "VM web01".to_owned(), source };
    let failure = Failure { doing: "cannot do it".to_owned(), fault: failure.into() };
    assert!(failure.text().contains("nothing of it was saved"), "{}", failure.text());
    assert!(failure.text().contains("not stored twice"), "{}", failure.text());
}
