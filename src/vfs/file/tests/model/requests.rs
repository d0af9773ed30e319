//! Requests on open files, which are repeated in the next session where a repeat is allowed.

use super::remote::{Remote, RemoteFile, Result, Tries, UnderWay, failure, refused};
use super::server::{Info, Origin, Reply, Request};
use crate::share::error::Cause;
use crate::share::model::{Acknowledgement, Own};
use crate::share::{Broken, Granted, LeaseKey};
use bytes::Bytes;
use std::rc::Weak;

/// Requests on open files, and by path.
impl Remote {
    async fn run_on(
        &self,
        file: &RemoteFile,
        operation: &'static str,
        build: impl Fn(u64) -> Request,
    ) -> Result<Reply> {
        let mut tries = Tries::new(self, operation);
        loop {
            let (session, open) = self.live(file, operation, tries.deadline).await?;
            match self.call(session, build(open)).await {
                Some(Reply::Invalid | Reply::Full) => return Err(refused(operation)),
                Some(reply) => return Ok(reply),
                None => tries.lost()?,
            }
        }
    }

    async fn change_on(
        &self,
        file: &RemoteFile,
        operation: &'static str,
        (own, held): (Own, bool),
        build: impl Fn(u64) -> Request,
    ) -> Result<()> {
        let tolerates = match held {
            true => file.conflicts,
            false => {
                let still_true = file.lease.is_some_and(|key| self.granted(key).caching.writes());
                if still_true { file.record.record.borrow().conflicts() } else { u64::MAX }
            }
        };
        let number = file.record.record.borrow_mut().begin(&own);
        let mut under_way = UnderWay(self, &file.record, Some(number));
        let mut tries = Tries::new(self, operation);
        loop {
            let (session, open) = self.live(file, operation, tries.deadline).await?;
            if file.record.record.borrow().conflicts() > tolerates {
                file.refuses.set(true);
            }
            if file.refuses.get() {
                return Err(failure(operation, Cause::Conflict));
            }
            match self.call(session, build(open)).await {
                Some(Reply::Done) => {
                    under_way.2 = None;
                    let (clock, now) = (self.world.clock(), self.world.now());
                    file.record.record.borrow_mut().answered(number, &own, clock, now);
                    return Ok(());
                }
                Some(_) => return Err(refused(operation)),
                None => tries.lost()?,
            }
        }
    }

    /// WRITE, with a FLUSH or a new time in the same compound if asked for.
    pub(super) async fn write(
        &self,
        file: &RemoteFile,
        (offset, data): (u64, Bytes),
        (flush, touch): (bool, bool),
        origin: Origin,
    ) -> Result<()> {
        let mark = flush.then(|| file.record.record.borrow_mut().begin_flush());
        let own = Own::Write { offset, data: data.clone(), mark };
        let build = |open| Request::Write { open, offset, data: data.to_vec(), flush, touch, origin };
        self.change_on(file, "WRITE", (own, origin.held), build).await?;
        match mark {
            Some(mark) => self.verify_flushed(file, mark).await,
            None => Ok(()),
        }
    }

    /// SET_INFO of the time.
    pub(super) async fn touch(&self, file: &RemoteFile) -> Result<()> {
        self.change_on(file, "SET_INFO", (Own::Attributes, false), |open| Request::Touch { open }).await
    }

    /// SET_INFO of the size.
    pub(super) async fn resize(&self, file: &RemoteFile, size: u64) -> Result<()> {
        self.change_on(file, "SET_INFO", (Own::Resize(size), false), |open| Request::SetSize { open, size }).await
    }

    /// SET_INFO of the size by path.
    pub(super) async fn resize_by_path(&self, file: usize, size: u64) -> Result<()> {
        let identity = self.world.identity(file);
        let record = self.records.borrow().get(&identity).and_then(Weak::upgrade);
        let own = Own::Resize(size);
        let number = record.as_ref().map(|of| of.record.borrow_mut().begin(&own));
        let mut under_way = record.as_ref().map(|of| UnderWay(self, of, number));
        let mut tries = Tries::new(self, "SET_INFO");
        loop {
            let session = self.session("SET_INFO", tries.deadline).await?;
            match self.call(session, Request::SetSizeByPath { file, size }).await {
                Some(Reply::Done) => {
                    if let Some(under_way) = under_way.as_mut()
                        && let Some(number) = under_way.2.take()
                    {
                        let (clock, now) = (self.world.clock(), self.world.now());
                        under_way.1.record.borrow_mut().answered(number, &own, clock, now);
                    }
                    return Ok(());
                }
                Some(_) => return Err(refused("SET_INFO")),
                None => tries.lost()?,
            }
        }
    }

    /// READ.
    pub(super) async fn read(&self, file: &RemoteFile, offset: u64, length: u64) -> Result<Vec<u8>> {
        match self.run_on(file, "READ", |open| Request::Read { open, offset, length }).await? {
            Reply::Data(data) => Ok(data),
            _ => Err(refused("READ")),
        }
    }

    /// QUERY_INFO by path.
    pub(super) async fn query(&self, file: usize) -> Result<Info> {
        let mut tries = Tries::new(self, "QUERY_INFO");
        loop {
            let session = self.session("QUERY_INFO", tries.deadline).await?;
            match self.call(session, Request::Query { file }).await {
                Some(Reply::Info(info)) => return Ok(info),
                Some(_) => return Err(refused("QUERY_INFO")),
                None => tries.lost()?,
            }
        }
    }

    /// FLUSH. If the session was lost since the WRITEs, the flushed ranges are read back and compared.
    pub(super) async fn flush(&self, file: &RemoteFile) -> Result<()> {
        let mark = file.record.record.borrow_mut().begin_flush();
        self.run_on(file, "FLUSH", |open| Request::Flush { open }).await?;
        self.verify_flushed(file, mark).await
    }

    async fn verify_flushed(&self, file: &RemoteFile, mark: u64) -> Result<()> {
        let ranges = file.record.record.borrow_mut().flushed(mark);
        let Some(ranges) = ranges else { return Ok(()) };
        let mut is_there = !file.record.record.borrow().is_short();
        for range in ranges {
            let (offset, length) = (range.start, range.end - range.start);
            let data = self.run_on(file, "READ", |open| Request::Read { open, offset, length }).await?;
            let Reply::Data(data) = data else { return Err(refused("READ")) };
            is_there &= file.record.record.borrow().agrees(range, &data);
        }
        file.record.record.borrow_mut().resolve(mark);
        if is_there { Ok(()) } else { Err(failure("FLUSH", Cause::Lost)) }
    }

    /// Whether data that the server has answered for may have been lost with a session.
    pub(super) fn is_in_doubt(&self, file: &RemoteFile) -> bool {
        let is_lost = !self.is_alive(file.live.get().0);
        file.record.record.borrow().is_in_doubt(is_lost)
    }

    /// Reopens the file, which judges it, and fails if data was lost.
    pub(super) async fn confirm(&self, file: &RemoteFile) -> Result<()> {
        self.live(file, "CREATE", self.deadline()).await?;
        let is_short = file.record.record.borrow().is_short();
        if is_short { Err(failure("CREATE", Cause::Lost)) } else { Ok(()) }
    }

    /// The caching granted under a lease, as the client knows it.
    pub(super) fn granted(&self, key: LeaseKey) -> Granted {
        self.line.borrow().leases.granted(key)
    }

    /// Acknowledges a break: everything that it requires is done.
    pub(super) async fn acknowledge(&self, broken: Broken) {
        let owed = self.line.borrow_mut().leases.carried_out(&broken);
        for Acknowledgement { session, key, kept } in owed {
            if let Some(Reply::Invalid) = self.call(session, Request::Acknowledge { key, kept }).await {
                self.line.borrow_mut().leases.refused(key);
            }
        }
    }
}
