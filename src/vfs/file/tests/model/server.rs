//! An SMB server in memory: disks, opens, leases, and CREATEs that wait for an acknowledgement.
//!
//! It answers a request when it is told to, and says to whom its answers and breaks go; how they travel is the network's
//! affair. What was not flushed is lost when it restarts.

use crate::share::model::{Breaking, Given};
use crate::share::{Caching, FileTime, LeaseKey};
use std::collections::BTreeMap;

/// The client that writes without leases.
pub(super) const STRANGER: usize = 99;
/// Bytes that a disk writes at once.
const PAGE: usize = 4096;

/// A file on the server's disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) id: u64,
    pub(super) created: FileTime,
    pub(super) data: Vec<u8>,
    pub(super) changed: FileTime,
    /// What survives a loss of power.
    pub(super) safe: (Vec<u8>, FileTime),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) client: usize,
    session: u64,
    pub(super) file: usize,
    pub(super) key: Option<LeaseKey>,
    pub(super) write: bool,
    wrote: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) client: usize,
    pub(super) session: u64,
    pub(super) file: usize,
    pub(super) state: Caching,
    pub(super) epoch: u16,
    /// What is left once the break under way is acknowledged.
    pub(super) breaking: Option<Caching>,
    /// The file was written while that was under way.
    pub(super) is_stale: bool,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Create {
        file: usize,
        lease: Option<(LeaseKey, Caching)>,
        write: bool,
        truncate: bool,
    },
    /// An open for reading that does not share writing, closed at once.
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

/// What the promises want to know of a WRITE.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    /// The program was told before that it is written.
    pub(super) held: bool,
    /// The program call that waits for it.
    pub(super) call: Option<u64>,
    /// When the oldest of its bytes was written, or the program's call began.
    pub(super) born: Option<u64>,
}

/// What the server knows of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Info {
    pub(super) id: u64,
    pub(super) created: FileTime,
    pub(super) size: u64,
    pub(super) changed: FileTime,
}

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

/// Something that happened on a disk.
#[derive(Clone, Debug)]
pub(super) enum Applied {
    Write {
        file: usize,
        client: usize,
        offset: u64,
        data: Vec<u8>,
        before: u64,
        origin: Origin,
    },
    Resize {
        file: usize,
        client: usize,
        size: u64,
        before: u64,
    },
    Flushed {
        file: usize,
    },
    /// A new open sees the file as it is now.
    Opened {
        file: usize,
        open: u64,
    },
}

/// What came of working on a request.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Reply),
    /// It waits for an acknowledgement.
    Waits,
}

/// How this server behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) epochs: bool,
    /// It grants what was not asked for, or less, now and then.
    pub(super) is_odd: bool,
    /// Closing files at the end of a session moves their times.
    pub(super) close_moves_time: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) manner: Manner,
    pub(super) disks: Vec<Disk>,
    pub(super) opens: BTreeMap<u64, Open>,
    pub(super) leases: BTreeMap<(usize, LeaseKey), Lease>,
    next: u64,
    /// Breaks to be sent: client, session.
    pub(super) breaks: Vec<(usize, u64, Breaking)>,
    pub(super) applied: Vec<Applied>,
    /// The next WRITEs that find the disk full.
    pub(super) full: u32,
}

impl Server {
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

    pub(super) fn info(&self, file: usize) -> Info {
        let disk = &self.disks[file];
        Info { id: disk.id, created: disk.created, size: disk.data.len() as u64, changed: disk.changed }
    }

    /// Works on a request of a session that lives.
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

    /// A program on the server itself writes: leases do not matter.
    pub(super) fn write_on_disk(&mut self, file: usize, offset: u64, written: &[u8], clock: FileTime) {
        let disk = &mut self.disks[file];
        let (before, end) = (disk.data.len(), offset as usize + written.len());
        disk.data.resize(before.max(end), 0);
        disk.data[offset as usize..end].copy_from_slice(written);
        disk.changed = clock;
        let (data, before, origin) = (written.to_vec(), before as u64, Origin::default());
        self.applied.push(Applied::Write { file, client: STRANGER, offset, data, before, origin });
    }

    fn resize(&mut self, file: usize, client: usize, size: u64, clock: FileTime) {
        let disk = &mut self.disks[file];
        let before = disk.data.len() as u64;
        disk.data.resize(size as usize, 0);
        disk.changed = clock;
        self.applied.push(Applied::Resize { file, client, size, before });
    }

    pub(super) fn flush(&mut self, file: usize) {
        let disk = &mut self.disks[file];
        disk.safe = (disk.data.clone(), disk.changed);
        self.applied.push(Applied::Flushed { file });
    }

    /// The disk writes a page of its own accord.
    pub(super) fn write_back(&mut self, file: usize, page: usize) {
        let disk = &mut self.disks[file];
        let start = (page * PAGE).min(disk.data.len());
        let end = (start + PAGE).min(disk.data.len());
        if disk.safe.0.len() < end {
            disk.safe.0.resize(end, 0);
        }
        disk.safe.0[start..end].copy_from_slice(&disk.data[start..end]);
    }

    /// The power fails: every session has ended, and what was not flushed is lost.
    pub(super) fn restart(&mut self) {
        for disk in &mut self.disks {
            (disk.data, disk.changed) = disk.safe.clone();
        }
        self.opens.clear();
        self.leases.clear();
    }

    /// A session has ended.
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
