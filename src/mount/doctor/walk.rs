//! The steps in their order, and where they stop.
//!
//! A step that fails as a mount would ends the walk. A step whose answer only describes the server is noted, and the
//! walk goes on. Each wait has the limit of the mount's own options: `connect-timeout` up to the folder, then at most
//! [`LONGEST_ANSWER`] for each question.

use super::facts::{of_greeting, of_session, of_volume};
use super::{Diagnosis, Finding, Found, Outcome, Step, throughput};
use crate::config::buffers::effective;
use crate::config::{Identity, MountSpec};
use crate::mount::remedy::{Goal, explain};
use crate::mount::run::{check_folder, connect_config, root_of, unconnected};
use crate::mount::{MountError, PIPES, Stage};
use crate::share::{self, FileTime, IoLimits, Names, RemotePath, ShareError, ShareKind, SmbShare, feature};
use crate::wire::greeting::{Greeting, Reached, reach};
use crate::wire::{self, ConnectConfig, ConnectError, Proof, transport};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Builder;
use tokio::time::Instant;

/// The most addresses of a host that are tried.
const ADDRESSES: usize = 16;
/// The longest time that a question about the share may take. A diagnosis is for servers that are slow or hang.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// The number of round trips that are timed, and how long they may take together.
const ROUND_TRIPS: usize = 15;
const ROUND_TRIPS_LIMIT: Duration = Duration::from_secs(2);
/// How long the end of the session may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// Takes all steps for the share that `spec` names, and `tell`s each finding at once. With `measure`, a file is read
/// for some seconds at the end. Nothing is changed on the server, and there is one sign-in at most. If the share is
/// [`PIPES`], the walk ends with the list of the server's shares.
pub fn diagnose(spec: &MountSpec, measure: bool, tell: &mut dyn FnMut(&Finding)) -> Diagnosis {
    let offered = connect_config(spec);
    // A further connection would sign in again.
    let config = ConnectConfig { connections: 1, ..offered.clone() };
    let mut walk = Walk { spec, offered, config, measure, diagnosis: Diagnosis::default(), tell };
    let runtime = Builder::new_multi_thread().enable_all().thread_name("cifs-fuse").build();
    let walked = match &runtime {
        Ok(runtime) => runtime.block_on(walk.run()),
        Err(error) => Err(Stop(Step::Url, MountError::system("the worker threads could not be started", error))),
    };
    if let Err(Stop(step, error)) = walked {
        walk.note(step, Outcome::Failed(error));
        let later = Step::ALL.into_iter().filter(|other| *other > step && (measure || *other != Step::Throughput));
        later.for_each(|step| walk.note(step, Outcome::NotTried));
    }
    if let Ok(runtime) = runtime {
        // The system may still resolve a name, which has no end of its own.
        runtime.shutdown_background();
    }
    walk.diagnosis
}

/// The step that ends the walk, and why.
struct Stop(Step, MountError);

struct Walk<'a> {
    spec: &'a MountSpec,
    /// The configuration of a mount, for what is asked without signing in.
    offered: ConnectConfig,
    /// The configuration of the one connection that signs in.
    config: ConnectConfig,
    measure: bool,
    diagnosis: Diagnosis,
    tell: &'a mut dyn FnMut(&Finding),
}

impl Walk<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let user = user(&self.spec.identity);
        let is_whole_server = self.spec.url.share.eq_ignore_ascii_case(PIPES);
        let url = self.spec.url.to_string();
        let url = if is_whole_server { url.trim_end_matches(PIPES).trim_end_matches('/').to_owned() } else { url };
        self.found(Step::Url, Found::Url { url, user });
        let addresses = self.resolve().await?;
        let reached = self.ports(&addresses).await?;
        let greeting = self.greet(reached).await?;
        self.terms(&greeting)?;
        if is_whole_server {
            return self.shares().await;
        }
        let share = Arc::new(self.sign_in().await?);
        let looked = self.look_at(&share).await;
        share.leave(LEAVE_LIMIT).await;
        looked
    }

    async fn resolve(&mut self) -> Result<Vec<SocketAddr>, Stop> {
        let deadline = Instant::now() + self.config.connect_timeout;
        let resolved = transport::resolve(&self.config.host, self.config.port, deadline).await;
        let mut addresses = resolved.map_err(|error| self.stop(Step::Name, error))?;
        addresses.truncate(ADDRESSES);
        self.found(Step::Name, Found::Addresses(addresses.iter().map(SocketAddr::ip).collect()));
        Ok(addresses)
    }

    /// Tries the port of all addresses at once.
    async fn ports(&mut self, addresses: &[SocketAddr]) -> Result<Vec<Reached>, Stop> {
        let (config, limit) = (&self.offered, self.config.connect_timeout);
        let attempts = addresses.iter().map(|address| reach(config, *address, limit));
        let tried = join_all(attempts).await;
        self.any(Step::Port, tried, |reached| Found::Open { address: reached.address(), took: reached.took })
    }

    /// Negotiates with all addresses that were reached, at once. A mount uses the first of them, so its answer decides.
    async fn greet(&mut self, reached: Vec<Reached>) -> Result<Greeting, Stop> {
        let attempts = reached.iter().map(|reached| reached.greet(&self.offered, self.config.connect_timeout));
        let mut decision = None;
        for (reached, answer) in reached.iter().zip(join_all(attempts).await) {
            let address = reached.address();
            // A server that refuses with a status speaks SMB.
            if answer.as_ref().map_or_else(|error| error.status.is_some(), |_| true) {
                self.found(Step::Smb, Found::Speaks(address));
            }
            match (answer, &decision) {
                (answer, None) => decision = Some(answer),
                (Err(error), Some(_)) => {
                    let MountError { message, .. } = explain(self.spec, self.goal(), &error);
                    self.note(
                        Step::Smb,
                        Outcome::Minor(MountError::new(Stage::Dialect, format!("{address}: {message}"))),
                    );
                }
                (Ok(_), Some(_)) => {}
            }
        }
        match decision {
            Some(Ok(greeting)) => Ok(greeting),
            Some(Err(error)) => Err(self.stop(if error.status.is_some() { Step::Dialect } else { Step::Smb }, error)),
            None => Err(Stop(Step::Smb, MountError::new(Stage::Connect, "no address was reached"))),
        }
    }

    /// What the server answered to NEGOTIATE.
    fn terms(&mut self, greeting: &Greeting) -> Result<(), Stop> {
        let (agreed, options) = (&greeting.agreed, &self.spec.options);
        self.diagnosis.facts.extend(of_greeting(greeting));
        self.found(Step::Dialect, Found::Dialect { chosen: agreed.dialect, offered: options.dialects });
        let server_requires = agreed.server_requires_signing;
        let signing = Found::Signing { server_requires, client: options.signing, algorithm: agreed.signing };
        self.found(Step::Signing, signing);
        let missing = agreed.check_encryption(options.encryption);
        missing.map_err(|error| self.stop(Step::Encryption, error))?;
        self.found(Step::Encryption, Found::Encryption { cipher: agreed.cipher, client: options.encryption });
        let ahead =
            greeting.clock.now().map(|server| milliseconds_between(server, FileTime::from(SystemTime::now()).0));
        self.found(Step::Clock, Found::Clock(ahead));
        Ok(())
    }

    /// Signs in and lists the shares: the URL names none.
    async fn shares(&mut self) -> Result<(), Stop> {
        let shares = share::shares(self.config.clone(), self.limit()).await;
        let shares = shares.map_err(|error| self.refused(error))?;
        self.found(Step::SignIn, Found::SignedIn { user: user(&self.spec.identity), guest: None });
        let disks = shares.into_iter().filter(|share| share.kind == ShareKind::Disk && !share.is_hidden());
        self.found(Step::Share, Found::Shares(disks.map(|share| share.name).collect()));
        Ok(())
    }

    /// Signs in and connects to the share. If there is no such share, a second sign-in lists those that exist.
    async fn sign_in(&mut self) -> Result<SmbShare, Stop> {
        let root = root_of(self.spec).map_err(|error| Stop(Step::Url, error))?;
        let options = &self.spec.options;
        let connected = SmbShare::connect(self.config.clone(), self.limit(), root, |terms| IoLimits {
            read: effective(options.read_buffer_size, terms.max_read).bytes,
            write: effective(options.write_buffer_size, terms.max_write).bytes,
        });
        let share = match connected.await {
            Ok(share) => share,
            Err(error) => {
                let explained = unconnected(self.spec, &error).await;
                let Stop(step, _) = self.refused(error);
                return Err(Stop(step, explained));
            }
        };
        let terms = share.tree().terms.clone();
        self.found(Step::SignIn, Found::SignedIn { user: user(&self.spec.identity), guest: Some(terms.guest) });
        self.diagnosis.facts.extend(of_session(&terms));
        self.found(Step::Share, Found::Share { name: self.spec.url.share.clone(), protection: terms.to_string() });
        Ok(share)
    }

    /// The step at which a connection failed that had been tried without signing in. Notes an accepted sign-in.
    fn refused(&mut self, error: ConnectError) -> Stop {
        let is_signed_in = error.proof == Proof::Accepted && error.stage != wire::Stage::SignIn;
        if is_signed_in {
            self.found(Step::SignIn, Found::SignedIn { user: user(&self.spec.identity), guest: None });
        }
        self.stop(if is_signed_in { Step::Share } else { Step::SignIn }, error)
    }

    /// The folder, and what it and the server offer.
    async fn look_at(&mut self, share: &Arc<SmbShare>) -> Result<(), Stop> {
        let root = root_of(self.spec).map_err(|error| Stop(Step::Url, error))?;
        let folder = check_folder(self.spec, share, &root).await;
        folder.map_err(|error| Stop(Step::Path, error))?;
        self.found(Step::Path, Found::Folder(self.spec.url.path.clone()));

        let read_only = self.spec.options.read_only;
        let rights = share.rights(&root).await;
        self.answered(Step::Rights, rights, |rights| Found::Rights { rights, read_only });
        let terms = &share.tree().terms;
        let leases = Found::Leases { files: terms.leasing, directories: terms.directory_leasing };
        self.found(Step::Leases, leases);
        let watches = share.watches(&root).await;
        self.answered(Step::Watches, watches, Found::Watches);
        let volume = share.volume(&root).await;
        if let Ok(volume) = &volume {
            self.diagnosis.facts.extend(of_volume(volume));
        }
        let has_links = |volume: share::Volume| Found::Symlinks(volume.features & feature::REPARSE_POINTS != 0);
        self.answered(Step::Symlinks, volume, has_links);
        let space = share.space(&root).await;
        self.answered(Step::Space, space, Found::Space);
        let times = share.round_trips(ROUND_TRIPS, ROUND_TRIPS_LIMIT).await;
        let count = times.as_ref().map_or(0, Vec::len);
        let median = times.map(|times| median(times).unwrap_or_default());
        self.answered(Step::RoundTrip, median, |median| Found::RoundTrip { median, count });
        if self.measure {
            self.throughput(share, &root).await;
        }
        Ok(())
    }

    async fn throughput(&mut self, share: &Arc<SmbShare>, root: &RemotePath) {
        let measured = throughput::measure(share, root).await;
        self.answered(Step::Throughput, measured, Found::Throughput);
    }

    /// The successes among the attempts at several addresses. A failure is one of the step only if all have failed.
    fn any<T>(
        &mut self,
        step: Step,
        tried: Vec<Result<T, ConnectError>>,
        found: impl Fn(&T) -> Found,
    ) -> Result<Vec<T>, Stop> {
        let (mut good, mut last) = (Vec::new(), None);
        for attempt in tried {
            match attempt {
                Ok(value) => {
                    self.found(step, found(&value));
                    good.push(value);
                }
                Err(error) => {
                    if let Some(error) = last.replace(explain(self.spec, self.goal(), &error)) {
                        self.note(step, Outcome::Minor(error));
                    }
                }
            }
        }
        match (good.is_empty(), last) {
            (true, Some(error)) => Err(Stop(step, error)),
            (true, None) => Err(Stop(step, MountError::new(Stage::Resolve, "the host has no address"))),
            (false, Some(error)) => {
                self.note(step, Outcome::Minor(error));
                Ok(good)
            }
            (false, None) => Ok(good),
        }
    }

    /// The limit of one question about the share.
    fn limit(&self) -> Duration {
        self.spec.options.request_timeout.min(LONGEST_ANSWER)
    }

    /// What the connection is for. A URL without a share leads to the list of the shares.
    fn goal(&self) -> Goal {
        if self.spec.url.share.eq_ignore_ascii_case(PIPES) { Goal::List } else { Goal::Mount }
    }

    fn stop(&self, step: Step, error: ConnectError) -> Stop {
        Stop(step, explain(self.spec, self.goal(), &error))
    }

    fn found(&mut self, step: Step, found: Found) {
        self.note(step, Outcome::Found(found));
    }

    /// Notes the answer to a question on which no mount depends.
    fn answered<T>(&mut self, step: Step, answer: Result<T, ShareError>, found: impl FnOnce(T) -> Found) {
        self.note(
            step,
            match answer {
                Ok(value) => Outcome::Found(found(value)),
                Err(error) => Outcome::Minor(unanswered(&error)),
            },
        );
    }

    fn note(&mut self, step: Step, outcome: Outcome) {
        let finding = Finding { step, outcome };
        (self.tell)(&finding);
        self.diagnosis.findings.push(finding);
    }
}

/// The account for the user; `None` for an anonymous session.
fn user(identity: &Identity) -> Option<String> {
    match identity {
        Identity::Anonymous => None,
        Identity::User { username, domain: Some(domain), .. } => Some(format!("{domain}\\{username}")),
        Identity::User { username, domain: None, .. } => Some(username.clone()),
    }
}

fn unanswered(error: &ShareError) -> MountError {
    match error.nt_status() {
        Some(status) => MountError::new(Stage::Path, "the server refused the question").status(status),
        None => MountError::new(Stage::Path, error.to_string()),
    }
}

/// How much later the first time is than the second, in milliseconds. Both are FILETIMEs: 100 ns since 1601.
fn milliseconds_between(first: u64, second: u64) -> i64 {
    const TICKS: i128 = 10_000;
    let between = (i128::from(first) - i128::from(second)) / TICKS;
    i64::try_from(between).unwrap_or(i64::MAX)
}

/// The median; `None` of nothing.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MountOptions, ShareUrl};
    use std::path::PathBuf;

    /// The outcomes of the attempts at several addresses: a mark for each finding, and whether the walk goes on.
    fn any(tried: &[bool]) -> (String, bool) {
        let spec = MountSpec {
            url: ShareUrl::parse("cifs://nas/media", &[]).unwrap(),
            mountpoint: PathBuf::new(),
            identity: Identity::Anonymous,
            options: MountOptions::default(),
            restart: None,
        };
        let config = connect_config(&spec);
        let diagnosis = Diagnosis::default();
        let tell = &mut |_: &Finding| {};
        let mut walk = Walk { spec: &spec, offered: config.clone(), config, measure: false, diagnosis, tell };
        let refused = || ConnectError::new(wire::Stage::Connect, "refused");
        let tried = tried.iter().map(|works| if *works { Ok(()) } else { Err(refused()) }).collect();
        let goes_on = walk.any(Step::Port, tried, |()| Found::Watches(true)).is_ok();
        let mark = |finding: &Finding| match finding.outcome {
            Outcome::Found(_) => '+',
            Outcome::Minor(_) => '-',
            Outcome::Failed(_) | Outcome::NotTried => '!',
        };
        (walk.diagnosis.findings.iter().map(mark).collect(), goes_on)
    }

    #[test]
    fn an_address_that_fails_is_a_failure_only_if_all_do() {
        assert_eq!(any(&[true, true]), ("++".to_owned(), true));
        assert_eq!(any(&[false, true, false]), ("+--".to_owned(), true));
        // The walk itself notes the last failure.
        assert_eq!(any(&[false, false]), ("-".to_owned(), false));
        assert_eq!(any(&[]), (String::new(), false));
    }

    #[test]
    fn the_median_is_not_moved_by_one_slow_round_trip() {
        let times = [3, 1, 900, 2, 4].map(Duration::from_millis);
        assert_eq!(median(times.to_vec()), Some(Duration::from_millis(3)));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn times_that_no_clock_shows_are_no_overflow() {
        assert_eq!(milliseconds_between(30_000, 10_000), 2);
        assert_eq!(milliseconds_between(10_000, 30_000), -2);
        assert!(milliseconds_between(u64::MAX, 0) > 0);
        assert!(milliseconds_between(0, u64::MAX) < 0);
    }
}
