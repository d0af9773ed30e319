//! Owner, group and mode of a file, as POSIX has them.

/// Owner, group and mode; `None` where a value is not known or not to be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ownership {
    /// User id of the owner.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
    /// Permission bits (`0o7777`).
    pub mode: Option<u16>,
}

impl Ownership {
    /// Nothing.
    pub const NOTHING: Ownership = Ownership { uid: None, gid: None, mode: None };

    /// These values, and those of `below` where there are none.
    #[must_use]
    pub fn over(self, below: Ownership) -> Ownership {
        Ownership { uid: self.uid.or(below.uid), gid: self.gid.or(below.gid), mode: self.mode.or(below.mode) }
    }

    /// These values without those that `other` has too, whatever they are there.
    #[must_use]
    pub fn without(self, other: Ownership) -> Ownership {
        Ownership {
            uid: self.uid.filter(|_| other.uid.is_none()),
            gid: self.gid.filter(|_| other.gid.is_none()),
            mode: self.mode.filter(|_| other.mode.is_none()),
        }
    }

    /// Whether there is no value.
    pub fn is_nothing(self) -> bool {
        self == Ownership::NOTHING
    }
}
