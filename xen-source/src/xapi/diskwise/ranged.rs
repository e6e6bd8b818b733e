//! A disk by NBD: of it what is due. What comes next is asked for before it is needed.

use std::collections::VecDeque;
use std::time::Duration;

use engine::source::{NextSegment, SEGMENT_LEN};

use super::due::Due;
use crate::xapi::changed::{Part, ranges};
use crate::xapi::error::XapiError;
use crate::xapi::limits::{NBD_AHEAD_LEN, NBD_RENEWALS};
use crate::xapi::nbd::{self, NbdDisk};
use crate::xapi::session::{Pause, Session};

/// Where a disk is looked for.
pub struct Place {
    pub session: Session,
    /// The disk, by its reference.
    pub disk: String,
    /// Its virtual size in bytes. The device may be larger.
    pub size_bytes: u64,
}

/// A disk that is being read.
pub struct Ranged {
    place: Place,
    connection: NbdDisk,
    /// For segments out of order, so that those in order stay asked for.
    aside: Option<NbdDisk>,
    due: Due,
    /// What was asked for and not delivered, in order.
    asked: VecDeque<(u64, Part)>,
    /// Bytes that came by connections that are gone.
    bytes_before: u64,
    renewals: u32,
}

/// Waits as the session does.
struct SessionPause(Session);

impl Pause for SessionPause {
    fn pause(&self, time: Duration) {
        self.0.pause(time);
    }
}

impl Place {
    fn connect(&self) -> Result<NbdDisk, XapiError> {
        let infos = nbd::infos(&self.session, &self.disk)?;
        let pause = Box::new(SessionPause(self.session.clone()));
        let settings = self.session.transport().settings();
        let connection = NbdDisk::connect_with(&infos, settings, pause)?;
        if connection.size_bytes() < self.size_bytes {
            let (found, expected) = (connection.size_bytes(), self.size_bytes);
            return Err(XapiError::Length { label: "a disk by NBD".to_owned(), found, expected });
        }
        Ok(connection)
    }

    /// Where a part of a segment lies on the disk, and in the segment.
    fn ranges(&self, number: u64, part: Part) -> Vec<(u64, std::ops::Range<usize>)> {
        let start = number.saturating_mul(SEGMENT_LEN as u64);
        let len = self.size_bytes.saturating_sub(start).min(SEGMENT_LEN as u64) as usize;
        let ranges = ranges(part, len).into_iter().filter(|range| !range.is_empty());
        ranges.map(|range| (start + range.start as u64, range)).collect()
    }
}

impl Ranged {
    /// Connects, for what is `due`.
    ///
    /// # Errors
    ///
    /// [`XapiError`]: the disk is not to be had by NBD, or is smaller there than it should be.
    pub fn open(place: Place, due: Due) -> Result<Self, XapiError> {
        let connection = place.connect()?;
        let (aside, asked) = (None, VecDeque::new());
        Ok(Self { place, connection, aside, due, asked, bytes_before: 0, renewals: 0 })
    }

    /// Bytes that came.
    pub fn bytes_read(&self) -> u64 {
        let aside = self.aside.as_ref().map_or(0, NbdDisk::bytes_read);
        self.bytes_before + self.connection.bytes_read() + aside
    }

    /// What follows.
    ///
    /// # Errors
    ///
    /// What reading met for good.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, XapiError> {
        loop {
            let error = match self.ask_ahead().and_then(|()| self.take_first(buffer)) {
                Ok(next) => {
                    self.renewals = 0;
                    return Ok(next);
                }
                Err(error) => error,
            };
            if self.renewals == NBD_RENEWALS {
                return Err(error);
            }
            self.renewals += 1;
            self.renew()?;
        }
    }

    /// Fills `buffer` with a whole segment, out of order.
    ///
    /// # Errors
    ///
    /// What reading met for good.
    pub fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), XapiError> {
        if let Some(aside) = self.aside.take()
            && self.read_aside(aside, number, buffer).is_ok()
        {
            return Ok(());
        }
        let aside = self.place.connect()?;
        self.read_aside(aside, number, buffer)
    }

    /// Begins again, with what is `due` then.
    ///
    /// # Errors
    ///
    /// The disk is not to be had any more.
    pub fn restart(&mut self, due: Due) -> Result<(), XapiError> {
        self.asked.clear();
        self.due = due;
        self.renew()
    }

    /// What was not delivered, for whoever goes on.
    pub fn take_rest(&mut self) -> Due {
        let due = std::mem::replace(&mut self.due, Due::parts(Vec::new()));
        due.after(self.asked.drain(..))
    }

    /// Reads by a connection, which is kept if it is good.
    fn read_aside(
        &mut self,
        mut aside: NbdDisk,
        number: u64,
        buffer: &mut [u8],
    ) -> Result<(), XapiError> {
        let mut end = 0;
        let mut read = || {
            self.place.ranges(number, Part::Whole).into_iter().try_for_each(|(offset, range)| {
                end = range.end;
                aside.ask(offset, range.len())?;
                aside.take(&mut buffer[range])
            })
        };
        if let Err(error) = read() {
            self.bytes_before += aside.bytes_read();
            return Err(error);
        }
        buffer[end..].fill(0);
        self.aside = Some(aside);
        Ok(())
    }

    fn ask_ahead(&mut self) -> Result<(), XapiError> {
        while self.connection.asked() < NBD_AHEAD_LEN {
            let Some((number, part)) = self.due.next(self.place.size_bytes) else {
                break;
            };
            self.asked.push_back((number, part));
            ask(&mut self.connection, &self.place, number, part)?;
        }
        Ok(())
    }

    fn take_first(&mut self, buffer: &mut [u8]) -> Result<NextSegment, XapiError> {
        let Some((number, part)) = self.asked.front().copied() else {
            return Ok(NextSegment::End { size_bytes: self.place.size_bytes });
        };
        if matches!(part, Part::Allocated(_)) {
            buffer.fill(0);
        }
        let mut end = 0;
        for (_, range) in self.place.ranges(number, part) {
            self.connection.take(&mut buffer[range.clone()])?;
            end = range.end;
        }
        buffer[end..].fill(0);
        self.asked.pop_front();
        Ok(match part {
            Part::Whole | Part::Allocated(_) => NextSegment::Filled { number },
            Part::Units(units) => NextSegment::Partly { number, units },
            Part::Sample => NextSegment::Sample { number },
        })
    }

    /// Looks for the disk anew, and asks for what is due.
    fn renew(&mut self) -> Result<(), XapiError> {
        let connection = self.place.connect()?;
        self.bytes_before += self.connection.bytes_read();
        self.connection = connection;
        for (number, part) in &self.asked {
            ask(&mut self.connection, &self.place, *number, *part)?;
        }
        Ok(())
    }
}

fn ask(connection: &mut NbdDisk, place: &Place, number: u64, part: Part) -> Result<(), XapiError> {
    place
        .ranges(number, part)
        .into_iter()
        .try_for_each(|(offset, range)| connection.ask(offset, range.len()))
}
