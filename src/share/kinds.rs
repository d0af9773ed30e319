//! What a file is: regular, a directory, a symbolic link, a fifo, a socket or a device.

/// What a file is to a POSIX program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FileKind {
    /// A regular file, and every reparse point to a file that this client does not know.
    File,
    /// A directory, and every reparse point to a directory that this client does not know.
    Directory,
    /// A symbolic link, or a junction.
    Symlink,
    /// A fifo.
    Fifo,
    /// A socket of the Unix domain.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// What a file is that is neither a regular file nor a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Special {
    /// A symbolic link, or a junction.
    Symlink {
        /// The length of its target, in bytes; 0 if the target cannot be read.
        length: u32,
    },
    /// A fifo.
    Fifo,
    /// A socket of the Unix domain.
    Socket,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

impl Special {
    /// The same without details.
    pub fn kind(self) -> FileKind {
        match self {
            Special::Symlink { .. } => FileKind::Symlink,
            Special::Fifo => FileKind::Fifo,
            Special::Socket => FileKind::Socket,
            Special::CharDevice(_) => FileKind::CharDevice,
            Special::BlockDevice(_) => FileKind::BlockDevice,
        }
    }
}

/// The number of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// A file to be made that is neither a regular file nor a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewSpecial<'a> {
    /// A symbolic link with this target: bytes without NUL, and at least one.
    Symlink(&'a [u8]),
    /// A fifo.
    Fifo,
    /// A socket of the Unix domain.
    Socket,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

impl NewSpecial<'_> {
    /// What the file will be.
    pub fn special(self) -> Special {
        match self {
            NewSpecial::Symlink(target) => Special::Symlink { length: u32::try_from(target.len()).unwrap_or(u32::MAX) },
            NewSpecial::Fifo => Special::Fifo,
            NewSpecial::Socket => Special::Socket,
            NewSpecial::CharDevice(device) => Special::CharDevice(device),
            NewSpecial::BlockDevice(device) => Special::BlockDevice(device),
        }
    }
}
