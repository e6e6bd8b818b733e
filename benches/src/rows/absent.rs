//! Rows that nothing here can show yet, each with the reason.

use super::Measured;
use crate::Scale;
use crate::table::{Row, Verdict};

/// What is left of the budget.
pub fn rows(_: Scale) -> Measured<Vec<Row>> {
    let row = |name, budget, why| Row {
        name,
        budget,
        measured: "-".to_owned(),
        verdict: Verdict::NotMeasured(why),
    };
    Ok(vec![
        row(
            "a second VM with the same files",
            "<= 0.16 x its data",
            "needs the VMs of make_dataset.py, which takes root and 24 GiB",
        ),
        row(
            "CPU per GiB of a nightly XVA",
            "<= 1/8 of restic, <= 1/4 of borg and rustic",
            "needs the peers and the VMs of make_dataset.py",
        ),
    ])
}
