//! Arguments that say what of a pool is backed up, beside the selectors.

use clap::Args;

/// What is left out, and what comes along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Pool")]
pub struct SelectionArgs {
    /// Leave out VMs with this tag; several with commas, or repeat it
    #[arg(long = "exclude-tag", value_name = "TAG", value_delimiter = ',', requires = "pool")]
    pub exclude_tags: Vec<String>,
    /// Leave out this VM, by name or UUID; repeat it for several
    #[arg(long = "exclude-vm", value_name = "NAME|UUID", requires = "pool")]
    pub exclude_vms: Vec<String>,
    /// Leave out disks: by device (xvdb), UUID or name, or all whose names fit name:GLOB or
    /// name~REGEX; repeat it for several
    #[arg(long = "exclude-disk", value_name = "DISK", requires = "pool")]
    pub exclude_disks: Vec<String>,
    /// Read disks whose names have [NOBAK] in them, too
    #[arg(long, requires = "pool")]
    pub ignore_nobak: bool,
    /// Selectors choose among custom templates, too
    #[arg(long, requires = "pool")]
    pub include_templates: bool,
    /// Of the VMs only their records, and no disks; `latest` passes over such snapshots
    #[arg(long, requires = "pool")]
    pub metadata_only: bool,
    /// The database of the pool, too, as a snapshot of its own
    #[arg(long, requires = "pool")]
    pub with_pool_db: bool,
    /// The systems of all hosts, too, a snapshot each
    #[arg(long, requires = "pool")]
    pub with_hosts: bool,
    /// All VMs, custom templates, the database and the systems of all hosts
    #[arg(long, requires = "pool")]
    pub everything: bool,
}

impl SelectionArgs {
    /// As they would be typed, a word each.
    pub fn words(&self) -> Vec<String> {
        let lists = [
            ("--exclude-tag", &self.exclude_tags),
            ("--exclude-vm", &self.exclude_vms),
            ("--exclude-disk", &self.exclude_disks),
        ];
        let mut words = Vec::new();
        for (flag, values) in lists {
            words.extend(values.iter().map(|value| format!("{flag}={value}")));
        }
        let mut given = self.clone();
        let flags = given.flags().into_iter().filter(|(_, is_given)| **is_given);
        words.extend(flags.map(|(flag, _)| flag.to_owned()));
        words
    }

    /// Takes a word of [`Self::words`]; `None` if it is something else.
    pub fn take_word(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            Some(("--exclude-tag", tag)) => self.exclude_tags.push(tag.to_owned()),
            Some(("--exclude-vm", vm)) => self.exclude_vms.push(vm.to_owned()),
            Some(("--exclude-disk", disk)) => self.exclude_disks.push(disk.to_owned()),
            _ => {
                let flag = self.flags().into_iter().find(|(flag, _)| *flag == word);
                *flag?.1 = true;
            }
        }
        Some(())
    }

    fn flags(&mut self) -> [(&'static str, &mut bool); 6] {
        [
            ("--ignore-nobak", &mut self.ignore_nobak),
            ("--include-templates", &mut self.include_templates),
            ("--metadata-only", &mut self.metadata_only),
            ("--with-pool-db", &mut self.with_pool_db),
            ("--with-hosts", &mut self.with_hosts),
            ("--everything", &mut self.everything),
        ]
    }
}
