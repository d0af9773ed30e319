//! An SMB server in memory: disks, opens, leases, and CREATEs that wait for an acknowledgement.
//!
//! It works on a request when a step says so. The run carries its replies and breaks. Data that was not flushed is
//! lost when the server restarts.

use crate::share::model::{Breaking, Given};
use crate::share::{Caching, FileTime, LeaseKey};
use std::collections::BTreeMap;

/// The number of the client that writes without leases.
pub(super) const OTHER_CLIENT: usize = 99;
/// The unit in which a disk writes back, in bytes.
const PAGE: usize = 4096;

/// A file on the server's disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) id: u64,
    pub(super) created: FileTime,
    pub(super) data: Vec<u8>,
    pub(super) changed: FileTime,
    /// Data and change time that survive a loss of power.
    pub(super) safe: (Vec<u8>, FileTime),
}

/// An open at the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) client: usize,
    session: u64,
    pub(super) file: usize,
    pub(super) key: Option<LeaseKey>,
    pub(super) write: bool,
    /// Something was written through it.
    wrote: bool,
}

/// A lease at the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) client: usize,
    pub(super) session: u64,
    pub(super) file: usize,
    pub(super) state: Caching,
    pub(super) epoch: u16,
    /// The rights that are left when the break under way is acknowledged.
    pub(super) breaking: Option<Caching>,
    /// The file was written while a break was under way.
    pub(super) is_stale: bool,
}

/// A request of a client.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Create {
        file: usize,
        lease: Option<(LeaseKey, Caching)>,
        write: bool,
        truncate: bool,
    },
    /// An open for reading that does not share writing, closed at once: finds out whether a writer has the file open.
    Look {
        file: usize,
        key: Option<LeaseKey>,
    },
    Read {
        open: u64,
        offset: u64,
        length: u64,
    },
    Write {
        open: u64,
        offset: u64,
        data: Vec<u8>,
        flush: bool,
        touch: bool,
        origin: Origin,
    },
    SetSize {
        open: u64,
        size: u64,
    },
    SetSizeByPath {
        file: usize,
        size: u64,
    },
    Touch {
        open: u64,
    },
    Flush {
        open: u64,
    },
    Query {
        file: usize,
    },
    Close {
        open: u64,
    },
    Acknowledge {
        key: LeaseKey,
        kept: Caching,
    },
}

/// What the promises record about a WRITE.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    /// The write was acknowledged to the program before.
    pub(super) held: bool,
    /// The program call that waits for the WRITE.
    pub(super) call: Option<u64>,
    /// When the oldest of its bytes was written, or the program's call began.
    pub(super) born: Option<u64>,
}

/// The metadata of a file at the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Info {
    pub(super) id: u64,
    pub(super) created: FileTime,
    pub(super) size: u64,
    pub(super) changed: FileTime,
}

/// The reply to a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Created { open: u64, info: Info, given: Option<Given> },
    Closed(Info),
    Info(Info),
    Data(Vec<u8>),
    Done,
    Full,
    Busy,
    Invalid,
}

/// A change on a disk, for the promises.
#[derive(Clone, Debug)]
pub(super) enum Applied {
    Write {
        file: usize,
        client: usize,
        offset: u64,
        data: Vec<u8>,
        /// The size before the write.
        before: u64,
        origin: Origin,
    },
    Resize {
        file: usize,
        client: usize,
        size: u64,
        /// The size before the change.
        before: u64,
    },
    Flushed {
        file: usize,
    },
    /// A new open, whose reads return the present data or later data.
    Opened {
        file: usize,
        open: u64,
    },
}

/// The outcome of working on a request.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Reply),
    /// The request waits for an acknowledgement.
    Waits,
}

/// Properties of this server that differ between servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Leases have epochs (version 2).
    pub(super) epochs: bool,
    /// It grants nothing while another client has the file open for writing.
    pub(super) is_odd: bool,
    /// Files that are closed at the end of a session get a new change time.
    pub(super) close_moves_time: bool,
}

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) manner: Manner,
    pub(super) disks: Vec<Disk>,
    pub(super) opens: BTreeMap<u64, Open>,
    pub(super) leases: BTreeMap<(usize, LeaseKey), Lease>,
    next: u64,
    /// Breaks to be sent, by client and session.
    pub(super) breaks: Vec<(usize, u64, Breaking)>,
    /// Changes that the promises have not been notified of.
    pub(super) applied: Vec<Applied>,
    /// The number of WRITEs to come that find the disk full.
    pub(super) full: u32,
}

impl Server {
    /// A server with files of these sizes, in bytes.
    pub(super) fn new(manner: Manner, sizes: &[usize]) -> Server {
        let disk = |(index, size): (usize, &usize)| {
            let (data, time) = (vec![0xA0 + index as u8; *size], FileTime(1));
            Disk { id: index as u64 + 1, created: FileTime(1), safe: (data.clone(), time), data, changed: time }
        };
        Server {
            manner,
            disks: sizes.iter().enumerate().map(disk).collect(),
            opens: BTreeMap::new(),
            leases: BTreeMap::new(),
            next: 1,
            breaks: Vec::new(),
            applied: Vec::new(),
            full: 0,
        }
    }

    /// The metadata of a file.
    pub(super) fn info(&self, file: usize) -> Info {
        let disk = &self.disks[file];
        Info { id: disk.id, created: disk.created, size: disk.data.len() as u64, changed: disk.changed }
    }

    /// Works on a request of a live session.
    pub(super) fn work(&mut self, client: usize, session: u64, request: &Request, clock: FileTime) -> Outcome {
        let reply = match request {
            Request::Create { file, lease, write, truncate } => {
                let key = lease.map(|(key, _)| key);
                let left = if *truncate { Caching::NONE } else { Caching::READ | Caching::HANDLE };
                if self.contend(*file, client, key, left) {
                    return Outcome::Waits;
                }
                let open = self.open(client, session, *file, key, *write);
                let info = self.info(*file);
                if *truncate {
                    self.resize(*file, client, 0, clock);
                }
                let given = lease.and_then(|(key, asked)| self.grant(client, session, *file, key, asked));
                self.applied.push(Applied::Opened { file: *file, open });
                Reply::Created { open, info, given }
            }
            Request::Look { file, key } => {
                if self.contend(*file, client, *key, Caching::READ | Caching::HANDLE) {
                    return Outcome::Waits;
                }
                let is_written = self.opens.values().any(|open| open.file == *file && open.write);
                if is_written { Reply::Busy } else { Reply::Done }
            }
            Request::SetSizeByPath { file, size } => {
                if self.contend(*file, client, None, Caching::NONE) {
                    return Outcome::Waits;
                }
                self.resize(*file, client, *size, clock);
                Reply::Done
            }
            Request::Acknowledge { key, kept } => self.acknowledged(client, *key, *kept),
            Request::Query { file } => Reply::Info(self.info(*file)),
            Request::Read { open, .. }
            | Request::Write { open, .. }
            | Request::SetSize { open, .. }
            | Request::Touch { open }
            | Request::Flush { open }
            | Request::Close { open } => match self.opens.get(open).copied() {
                Some(found) if found.session == session => self.work_on(*open, found, request, clock),
                _ => Reply::Invalid,
            },
        };
        Outcome::Reply(reply)
    }

    fn work_on(&mut self, number: u64, open: Open, request: &Request, clock: FileTime) -> Reply {
        let Open { client, file, key, .. } = open;
        match request {
            Request::Read { offset, length, .. } => {
                let data = &self.disks[file].data;
                let at = |place: u64| (place as usize).min(data.len());
                Reply::Data(data[at(*offset)..at(offset + length)].to_vec())
            }
            Request::Write { .. } | Request::SetSize { .. } | Request::Touch { .. } if !open.write => Reply::Invalid,
            Request::Write { offset, data, flush, touch, origin, .. } => {
                if self.full > 0 {
                    self.full -= 1;
                    return Reply::Full;
                }
                self.opens.entry(number).and_modify(|open| open.wrote = true);
                self.write(file, client, key, (*offset, data), (*origin, clock));
                if *touch {
                    self.disks[file].changed = clock;
                }
                if *flush {
                    self.flush(file);
                }
                Reply::Done
            }
            Request::SetSize { size, .. } => {
                self.break_readers(file, client, key);
                self.resize(file, client, *size, clock);
                Reply::Done
            }
            Request::Touch { .. } => {
                self.disks[file].changed = clock;
                Reply::Done
            }
            Request::Flush { .. } => {
                self.flush(file);
                Reply::Done
            }
            _ => {
                self.close(number);
                Reply::Closed(self.info(file))
            }
        }
    }

    fn open(&mut self, client: usize, session: u64, file: usize, key: Option<LeaseKey>, write: bool) -> u64 {
        self.next += 1;
        self.opens.insert(self.next, Open { client, session, file, key, write, wrote: false });
        self.next
    }

    fn close(&mut self, number: u64) {
        let Some(open) = self.opens.remove(&number) else { return };
        let Some(key) = open.key else { return };
        let is_used = self.opens.values().any(|other| other.client == open.client && other.key == Some(key));
        if !is_used {
            self.leases.remove(&(open.client, key));
        }
    }

    /// A client writes, and breaks the leases of readers.
    pub(super) fn write(
        &mut self,
        file: usize,
        client: usize,
        key: Option<LeaseKey>,
        (offset, written): (u64, &[u8]),
        (origin, clock): (Origin, FileTime),
    ) {
        self.break_readers(file, client, key);
        let disk = &mut self.disks[file];
        let (before, end) = (disk.data.len(), offset as usize + written.len());
        disk.data.resize(before.max(end), 0);
        disk.data[offset as usize..end].copy_from_slice(written);
        disk.changed = clock;
        let (data, before) = (written.to_vec(), before as u64);
        self.applied.push(Applied::Write { file, client, offset, data, before, origin });
    }

    /// A program on the server itself writes, without regard to leases.
    pub(super) fn write_on_disk(&mut self, file: usize, offset: u64, written: &[u8], clock: FileTime) {
        let disk = &mut self.disks[file];
        let (before, end) = (disk.data.len(), offset as usize + written.len());
        disk.data.resize(before.max(end), 0);
        disk.data[offset as usize..end].copy_from_slice(written);
        disk.changed = clock;
        let (data, before, origin) = (written.to_vec(), before as u64, Origin::default());
        self.applied.push(Applied::Write { file, client: OTHER_CLIENT, offset, data, before, origin });
    }

    fn resize(&mut self, file: usize, client: usize, size: u64, clock: FileTime) {
        let disk = &mut self.disks[file];
        let before = disk.data.len() as u64;
        disk.data.resize(size as usize, 0);
        disk.changed = clock;
        self.applied.push(Applied::Resize { file, client, size, before });
    }

    /// Puts a file's data on the disk.
    pub(super) fn flush(&mut self, file: usize) {
        let disk = &mut self.disks[file];
        disk.safe = (disk.data.clone(), disk.changed);
        self.applied.push(Applied::Flushed { file });
    }

    /// The disk writes a page back on its own.
    pub(super) fn write_back(&mut self, file: usize, page: usize) {
        let disk = &mut self.disks[file];
        let start = (page * PAGE).min(disk.data.len());
        let end = (start + PAGE).min(disk.data.len());
        if disk.safe.0.len() < end {
            disk.safe.0.resize(end, 0);
        }
        disk.safe.0[start..end].copy_from_slice(&disk.data[start..end]);
    }

    /// The power fails: every session ends, and data that was not flushed is lost.
    pub(super) fn restart(&mut self) {
        for disk in &mut self.disks {
            (disk.data, disk.changed) = disk.safe.clone();
        }
        self.opens.clear();
        self.leases.clear();
    }

    /// A session has ended: its opens are closed.
    pub(super) fn ended(&mut self, session: u64, clock: FileTime) {
        let gone: Vec<u64> =
            self.opens.iter().filter(|(_, open)| open.session == session).map(|(number, _)| *number).collect();
        for number in gone {
            let Some(open) = self.opens.get(&number).copied() else { continue };
            if open.wrote && self.manner.close_moves_time {
                self.disks[open.file].changed = clock;
            }
            self.close(number);
        }
        self.leases.retain(|_, lease| lease.session != session);
    }
}
