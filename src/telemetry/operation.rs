//! The requests of the kernel that are counted, by the name of their FUSE operation.

use std::fmt;

/// One list for the variants, their names and their number.
macro_rules! operations {
    ($($variant:ident => $name:literal,)*) => {
        /// A request of the kernel (FUSE opcode).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Operation {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Operation {
            /// All operations, in the order of their numbers.
            pub const ALL: [Operation; [$($name),*].len()] = [$(Operation::$variant),*];

            /// The name, as in `fuser::Filesystem`.
            pub const fn name(self) -> &'static str {
                match self { $(Operation::$variant => $name,)* }
            }
        }
    };
}

operations! {
    CopyFileRange => "copy_file_range",
    Create => "create",
    Fallocate => "fallocate",
    Flush => "flush",
    Forget => "forget",
    Fsync => "fsync",
    Fsyncdir => "fsyncdir",
    Getattr => "getattr",
    Getxattr => "getxattr",
    Ioctl => "ioctl",
    Link => "link",
    Listxattr => "listxattr",
    Lookup => "lookup",
    Lseek => "lseek",
    Mkdir => "mkdir",
    Mknod => "mknod",
    Open => "open",
    Opendir => "opendir",
    Read => "read",
    Readdir => "readdir",
    Readdirplus => "readdirplus",
    Readlink => "readlink",
    Release => "release",
    Releasedir => "releasedir",
    Removexattr => "removexattr",
    Rename => "rename",
    Rmdir => "rmdir",
    Setattr => "setattr",
    Setxattr => "setxattr",
    Statfs => "statfs",
    Symlink => "symlink",
    Unlink => "unlink",
    Write => "write",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_operation_is_its_place_in_the_list() {
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, number, "{operation}");
        }
    }
}
