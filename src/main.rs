//! The program: see [`cifs_fuse::cli`].

fn main() -> std::process::ExitCode {
    // Must run before the first thread starts, because each thread would get an arena of its own.
    cifs_fuse::cache::allocator::use_one_arena();
    cifs_fuse::cli::run()
}
