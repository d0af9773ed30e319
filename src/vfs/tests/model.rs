//! Random operations, on the file system over a share and on a simple model of POSIX. Both must answer the same.

use super::*;
use crate::share::FileKind;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A file or a directory.
#[derive(Clone, PartialEq, Debug)]
enum Thing {
    /// The index of the file's data. An unlinked file keeps it while it is open.
    File(usize),
    Directory,
}

/// The expected state.
#[derive(Default)]
struct Model {
    things: BTreeMap<String, Thing>,
    data: Vec<Vec<u8>>,
    /// Open files, in the order in which they were opened.
    open: Vec<Option<usize>>,
}

/// A call of a program.
#[derive(Clone, Debug)]
enum Operation {
    Create { path: String, exclusive: bool, truncate: bool },
    Open { path: String, truncate: bool },
    Close { index: usize },
    Write { index: usize, offset: u16, length: u16, fill: u8 },
    Read { index: usize, offset: u16, length: u16 },
    Truncate { path: String, size: u16 },
    Mkdir { path: String },
    Unlink { path: String },
    Rmdir { path: String },
    Rename { from: String, to: String, noreplace: bool },
    Link { from: String, to: String },
    List { path: String },
    Stat { path: String },
}

fn path() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "b", "d", "d/a", "d/b", "d/e", "e", "e/a", "e/d"]).prop_map(str::to_owned)
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let bit = any::<bool>;
    prop_oneof![
        4 => (path(), bit(), bit()).prop_map(|(path, exclusive, truncate)| Create { path, exclusive, truncate }),
        3 => (path(), proptest::bool::weighted(0.2)).prop_map(|(path, truncate)| Open { path, truncate }),
        3 => (0usize..6).prop_map(|index| Close { index }),
        6 => (0usize..6, 0u16..3000, 1u16..2000, any::<u8>())
            .prop_map(|(index, offset, length, fill)| Write { index, offset, length, fill }),
        6 => (0usize..6, 0u16..4000, 0u16..4000).prop_map(|(index, offset, length)| Read { index, offset, length }),
        2 => (path(), 0u16..4000).prop_map(|(path, size)| Truncate { path, size }),
        3 => path().prop_map(|path| Mkdir { path }),
        3 => path().prop_map(|path| Unlink { path }),
        2 => path().prop_map(|path| Rmdir { path }),
        4 => (path(), path(), proptest::bool::weighted(0.2))
            .prop_map(|(from, to, noreplace)| Rename { from, to, noreplace }),
        3 => (path(), path()).prop_map(|(from, to)| Link { from, to }),
        2 => path().prop_map(|path| List { path }),
        3 => path().prop_map(|path| Stat { path }),
    ]
}

/// The answer to a call: bytes, or an errno.
type Answer = std::result::Result<Vec<u8>, i32>;

impl Model {
    /// The file or directory at a path.
    ///
    /// # Errors
    /// `ENOENT` if there is none; `ENOTDIR` if the path leads through a file.
    fn find(&self, path: &str) -> std::result::Result<Thing, i32> {
        self.check_parent(path)?;
        self.things.get(path).cloned().ok_or(libc::ENOENT)
    }

    /// Checks that the directory of a path exists.
    ///
    /// # Errors
    /// `ENOENT` if it does not; `ENOTDIR` if the path leads through a file.
    fn check_parent(&self, path: &str) -> std::result::Result<(), i32> {
        match path.rsplit_once('/').map(|(parent, _)| self.find(parent)) {
            None | Some(Ok(Thing::Directory)) => Ok(()),
            Some(Ok(Thing::File(_))) => Err(libc::ENOTDIR),
            Some(Err(errno)) => Err(errno),
        }
    }

    fn children<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a String> {
        self.things.keys().filter(move |other| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    fn apply(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Create { path, exclusive, truncate } => {
                self.check_parent(path)?;
                match self.things.get(path) {
                    Some(_) if *exclusive => return Err(libc::EEXIST),
                    Some(Thing::Directory) => return Err(libc::EISDIR),
                    Some(Thing::File(data)) => {
                        if *truncate {
                            self.data[*data].clear();
                        }
                        self.open.push(Some(*data));
                    }
                    None => {
                        self.data.push(Vec::new());
                        let data = self.data.len() - 1;
                        self.things.insert(path.clone(), Thing::File(data));
                        self.open.push(Some(data));
                    }
                }
            }
            Operation::Open { path, truncate } => match self.find(path)? {
                Thing::Directory => return Err(libc::EISDIR),
                Thing::File(data) => {
                    if *truncate {
                        self.data[data].clear();
                    }
                    self.open.push(Some(data));
                }
            },
            Operation::Close { index } => {
                self.open.get_mut(*index).and_then(Option::take).ok_or(libc::EBADF)?;
            }
            Operation::Write { index, offset, length, fill } => {
                let file = self.open.get(*index).copied().flatten().ok_or(libc::EBADF)?;
                let (start, end) = (*offset as usize, *offset as usize + *length as usize);
                let data = &mut self.data[file];
                data.resize(data.len().max(end), 0);
                data[start..end].fill(*fill);
            }
            Operation::Read { index, offset, length } => {
                let file = self.open.get(*index).copied().flatten().ok_or(libc::EBADF)?;
                return Ok(self.data[file].iter().skip(*offset as usize).take(*length as usize).copied().collect());
            }
            Operation::Truncate { path, size } => match self.find(path)? {
                Thing::Directory => return Err(libc::EISDIR),
                Thing::File(data) => self.data[data].resize(*size as usize, 0),
            },
            Operation::Mkdir { path } => {
                self.check_parent(path)?;
                if self.things.contains_key(path) {
                    return Err(libc::EEXIST);
                }
                self.things.insert(path.clone(), Thing::Directory);
            }
            Operation::Unlink { path } => match self.find(path)? {
                Thing::Directory => return Err(libc::EISDIR),
                Thing::File(_) => drop(self.things.remove(path)),
            },
            Operation::Rmdir { path } => match self.find(path)? {
                Thing::File(_) => return Err(libc::ENOTDIR),
                Thing::Directory if self.children(path).next().is_some() => return Err(libc::ENOTEMPTY),
                Thing::Directory => drop(self.things.remove(path)),
            },
            Operation::Rename { from, to, noreplace } => return self.rename(from, to, *noreplace),
            Operation::Link { from, to } => {
                let thing = self.find(from)?;
                self.check_parent(to)?;
                match thing {
                    _ if self.things.contains_key(to) => return Err(libc::EEXIST),
                    Thing::Directory => return Err(libc::EPERM),
                    Thing::File(_) => drop(self.things.insert(to.clone(), thing)),
                }
            }
            Operation::List { path } => match self.find(path)? {
                Thing::File(_) => return Err(libc::ENOTDIR),
                Thing::Directory => {
                    let names: Vec<&str> = self
                        .children(path)
                        .map(|child| &child[path.len() + 1..])
                        .filter(|rest| !rest.contains('/'))
                        .collect();
                    return Ok(names.join(" ").into_bytes());
                }
            },
            Operation::Stat { path } => {
                return Ok(match self.find(path)? {
                    Thing::Directory => b"directory".to_vec(),
                    Thing::File(data) => {
                        let links = self.things.values().filter(|thing| **thing == Thing::File(data)).count();
                        format!("{} bytes, {links} links", self.data[data].len()).into_bytes()
                    }
                });
            }
        }
        Ok(Vec::new())
    }

    fn rename(&mut self, from: &str, to: &str, noreplace: bool) -> Answer {
        self.check_parent(from)?;
        self.check_parent(to)?;
        let thing = self.find(from)?;
        if to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(libc::EINVAL);
        }
        match (self.things.get(to), &thing) {
            (Some(_), _) if noreplace => return Err(libc::EEXIST),
            _ if from == to => return Ok(Vec::new()),
            // Two names of one file: POSIX leaves both.
            (Some(target), Thing::File(_)) if *target == thing => return Ok(Vec::new()),
            (Some(Thing::Directory), Thing::File(_)) => return Err(libc::EISDIR),
            (Some(Thing::File(_)), Thing::Directory) => return Err(libc::ENOTDIR),
            (Some(Thing::Directory), Thing::Directory) if self.children(to).next().is_some() => {
                return Err(libc::ENOTEMPTY);
            }
            _ => {}
        }
        let inside: Vec<String> = self.children(from).cloned().collect();
        for child in inside {
            if let Some(thing) = self.things.remove(&child) {
                self.things.insert(format!("{to}{}", &child[from.len()..]), thing);
            }
        }
        self.things.remove(from);
        self.things.insert(to.to_owned(), thing);
        Ok(Vec::new())
    }
}

/// The file system under test.
struct Mount {
    user: User,
    open: Vec<Option<Opened>>,
}

impl Mount {
    fn handle(&self, index: usize) -> std::result::Result<Opened, i32> {
        self.open.get(index).copied().flatten().ok_or(libc::EBADF)
    }

    async fn parent<'a>(&self, path: &'a str) -> Result<(u64, &'a OsStr)> {
        Ok(match path.rsplit_once('/') {
            Some((directory, name)) => {
                let found = self.user.look(directory).await?;
                if found.kind == FileKind::File {
                    return Err(VfsError::rule(libc::ENOTDIR, "the kernel looks for nothing in a file"));
                }
                (found.ino, OsStr::new(name))
            }
            None => (ROOT, OsStr::new(path)),
        })
    }

    async fn apply(&mut self, operation: &Operation) -> Answer {
        match self.try_apply(operation).await {
            Ok(answer) => answer,
            Err(error) => Err(error.errno),
        }
    }

    async fn try_apply(&mut self, operation: &Operation) -> Result<Answer> {
        let user = &self.user;
        match operation {
            Operation::Create { path, exclusive, truncate } => {
                let (parent, name) = self.parent(path).await?;
                let mut flags = libc::O_RDWR | libc::O_CREAT;
                flags |= if *exclusive { libc::O_EXCL } else { 0 };
                flags |= if *truncate { libc::O_TRUNC } else { 0 };
                let (_, opened) = operations::create(&user.vfs, parent, name, by(0o644), flags).await?;
                self.open.push(Some(opened));
            }
            Operation::Open { path, truncate } => {
                let flags = libc::O_RDWR | if *truncate { libc::O_TRUNC } else { 0 };
                let opened = user.open(path, flags).await?;
                self.open.push(Some(opened));
            }
            Operation::Close { index } => {
                let Some(opened) = self.open.get_mut(*index).and_then(Option::take) else {
                    return Ok(Err(libc::EBADF));
                };
                self.user.close(opened).await;
            }
            Operation::Write { index, offset, length, fill } => match self.handle(*index) {
                Ok(opened) => drop(user.write(opened, u64::from(*offset), &vec![*fill; usize::from(*length)]).await?),
                Err(errno) => return Ok(Err(errno)),
            },
            Operation::Read { index, offset, length } => match self.handle(*index) {
                Ok(opened) => return Ok(Ok(user.read(opened, u64::from(*offset), u32::from(*length)).await?)),
                Err(errno) => return Ok(Err(errno)),
            },
            Operation::Truncate { path, size } => {
                let ino = user.look(path).await?.ino;
                let set = SetAttr { size: Some(u64::from(*size)), ..SetAttr::default() };
                operations::setattr(&user.vfs, ino, &set).await?;
            }
            Operation::Mkdir { path } => {
                let (parent, name) = self.parent(path).await?;
                operations::mkdir(&user.vfs, parent, name, by(0o755)).await?;
            }
            Operation::Unlink { path } => {
                let (parent, name) = self.parent(path).await?;
                operations::unlink(&user.vfs, parent, name).await?;
            }
            Operation::Rmdir { path } => {
                let (parent, name) = self.parent(path).await?;
                operations::rmdir(&user.vfs, parent, name).await?;
            }
            Operation::Rename { from, to, noreplace } => {
                // The kernel looks both names up before it renames.
                let ((parent, name), (new_parent, new_name)) = (self.parent(from).await?, self.parent(to).await?);
                let source = user.look(from).await?;
                // An error says that no such file exists, or none can; the rename finds that too.
                let target = user.look(to).await;
                if !noreplace && target.is_ok_and(|target| target.ino == source.ino) {
                    return Ok(Ok(Vec::new()));
                }
                let flags = if *noreplace { libc::RENAME_NOREPLACE } else { 0 };
                operations::rename(&user.vfs, parent, name, new_parent, new_name, flags).await?;
            }
            Operation::Link { from, to } => {
                let ino = user.look(from).await?.ino;
                let (parent, name) = self.parent(to).await?;
                if user.look(to).await.is_ok() {
                    return Ok(Err(libc::EEXIST));
                }
                operations::link(&user.vfs, ino, parent, name).await?;
            }
            Operation::List { path } => {
                let mut names = user.ls(path).await?;
                // The server has an order of its own, and names made since come last.
                names.sort_unstable();
                return Ok(Ok(names.join(" ").into_bytes()));
            }
            Operation::Stat { path } => {
                let ino = user.look(path).await?.ino;
                let attr = operations::getattr(&user.vfs, ino).await?;
                return Ok(Ok(match attr.kind {
                    FileKind::Directory => b"directory".to_vec(),
                    _ => format!("{} bytes, {} links", attr.size, attr.links).into_bytes(),
                }));
            }
        }
        Ok(Ok(Vec::new()))
    }
}

/// Whether the answer is right on SMB although POSIX requires another: a directory is not renamed while a file that was
/// replaced is open in it (`EBUSY`), and not removed while an unlinked file is open in it (`ENOTEMPTY`).
fn is_smbs_own(operation: &Operation, answer: &Answer) -> bool {
    match operation {
        Operation::Rename { .. } => matches!(answer, Err(libc::EBUSY | libc::ENOTEMPTY)),
        Operation::Rmdir { .. } => matches!(answer, Err(libc::ENOTEMPTY)),
        _ => false,
    }
}

async fn compare(operations: Vec<Operation>, attr_timeout: Duration, cache_size: u64) {
    let share = MemoryShare::with(Behaviour {
        limits: crate::share::IoLimits { read: 1024, write: 700 },
        batch: 2,
        ..Behaviour::default()
    });
    let user = User::with(share, VfsOptions { attr_timeout, cache_size, ..options() });
    let mut mount = Mount { user, open: Vec::new() };
    let mut model = Model::default();
    for operation in &operations {
        let answer = mount.apply(operation).await;
        let any_open = model.open.iter().any(Option::is_some);
        if any_open && is_smbs_own(operation, &answer) {
            continue;
        }
        assert_eq!(answer, model.apply(operation), "{operation:?}");
        assert!(mount.user.vfs.cache.used() <= cache_size);
    }
    operations::drain(&mount.user.vfs).await;
    assert_eq!(mount.user.share.open_files(), 0);
    for (path, thing) in &model.things {
        if let Thing::File(data) = thing {
            assert_eq!(mount.user.share.data(path).as_ref(), Some(&model.data[*data]), "{path} on the server");
        }
    }
    let top: Vec<&String> = model.things.keys().filter(|path| !path.contains('/')).collect();
    assert_eq!(mount.user.share.names("").iter().collect::<Vec<_>>(), top, "no hidden file is left");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_file_system_answers_as_the_model_does(
        operations in proptest::collection::vec(operation(), 1..60),
        believing in any::<bool>(),
        cache_size in proptest::sample::select(vec![0u64, 3000, 1 << 20]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let timeout = if believing { LONG } else { Duration::ZERO };
        runtime.block_on(compare(operations, timeout, cache_size));
    }
}
