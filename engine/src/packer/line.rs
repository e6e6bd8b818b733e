//! What is stored in packs of one kind, on its way there: entries, an open frame, frames that are compressed, an open pack.

use repo_format::frame::{Compression, Compressor, StoredFrame};
use repo_format::header::Kind;
use repo_format::id::ChunkId;
use repo_format::keys::{Keys, Secret};
use repo_format::pack::{EntryKind, PackBuilder};

use crate::parallel::{Ordered, Workers};

/// What a frame holds, in order.
#[derive(Debug)]
pub(super) enum FrameList {
    Chunks(Vec<(ChunkId, u32)>),
    Catalog(Vec<([u8; 32], EntryKind, u32)>),
}

impl FrameList {
    fn empty_like(&self) -> Self {
        match self {
            Self::Chunks(_) => Self::Chunks(Vec::new()),
            Self::Catalog(_) => Self::Catalog(Vec::new()),
        }
    }
}

/// A frame on its way to a pack: compressed, what it holds, and the buffer that it has left.
type Compressed = (StoredFrame, FrameList, Vec<u8>);

/// Fills packs of one kind.
pub(super) struct Line<'w> {
    kind: Kind,
    frame_len: usize,
    spare: Vec<Vec<u8>>,
    plain: Vec<u8>,
    list: FrameList,
    compressing: Ordered<'w, Compressed>,
    pack: Option<PackBuilder>,
}

impl<'w> Line<'w> {
    /// Packs of `kind`, made of frames of `frame_len` bytes.
    pub(super) fn new(workers: &'w Workers, kind: Kind, frame_len: usize) -> Self {
        let list = match kind {
            Kind::DataPack => FrameList::Chunks(Vec::new()),
            _ => FrameList::Catalog(Vec::new()),
        };
        Self {
            kind,
            frame_len,
            spare: Vec::new(),
            plain: Vec::with_capacity(frame_len),
            list,
            compressing: workers.ordered(2 * workers.count()),
            pack: None,
        }
    }

    /// Whether the open frame has room for so many bytes; an empty one always has.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.plain.is_empty() || self.plain.len() + len <= self.frame_len
    }

    pub(super) fn push_chunk(&mut self, id: ChunkId, bytes: &[u8]) {
        self.plain.extend_from_slice(bytes);
        if let FrameList::Chunks(list) = &mut self.list {
            list.push((id, bytes.len() as u32));
        }
    }

    pub(super) fn push_entry(&mut self, id: [u8; 32], kind: EntryKind, bytes: &[u8]) {
        self.plain.extend_from_slice(bytes);
        if let FrameList::Catalog(list) = &mut self.list {
            list.push((id, kind, bytes.len() as u32));
        }
    }

    /// Sends the open frame to be compressed.
    pub(super) fn close_frame(&mut self, compression: Compression) {
        if self.plain.is_empty() {
            return;
        }
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.frame_len));
        let plain = std::mem::replace(&mut self.plain, empty);
        let empty = self.list.empty_like();
        let list = std::mem::replace(&mut self.list, empty);
        self.compressing.submit(move || {
            let (frame, spare) = compress(compression, plain);
            (frame, list, spare)
        });
    }

    /// Whether frames should be packed before the next is closed.
    pub(super) fn is_full(&self) -> bool {
        self.compressing.is_full()
    }

    /// Seals the oldest compressed frame into the open pack, which `buffer` and `seed` begin. Says whether the pack is
    /// full now; `None`: there was no frame.
    pub(super) fn pack_next(
        &mut self,
        keys: &Keys,
        buffer: &mut Vec<u8>,
        seed: impl FnOnce() -> Secret,
    ) -> Option<bool> {
        let (frame, list, spare) = self.compressing.next()?;
        let begin = || PackBuilder::in_buffer(keys, self.kind, &seed(), std::mem::take(buffer));
        let pack = self.pack.get_or_insert_with(begin);
        match list {
            FrameList::Chunks(list) => pack.append_chunks(&frame, &list),
            FrameList::Catalog(list) => pack.append_catalog(&frame, &list),
        }
        let is_full = pack.is_full();
        // A frame that did not shrink is in the buffer that it came in.
        self.spare.push(if spare.capacity() > 0 { spare } else { emptied(frame.stored) });
        Some(is_full)
    }

    /// The open pack, which is left to the caller.
    pub(super) fn take_pack(&mut self) -> Option<PackBuilder> {
        self.pack.take()
    }
}

fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer
}

fn compress(compression: Compression, plain: Vec<u8>) -> (StoredFrame, Vec<u8>) {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<(Compression, Compressor)>> =
            const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(level, _)| *level != compression) {
            *kept = Some((compression, Compressor::new(compression)));
        }
        let (_, compressor) = kept.as_mut().expect("it was set just now");
        compressor.compress_and_return(plain)
    })
}
