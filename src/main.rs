//! The program: see [`cifs_fuse::cli`].

fn main() -> std::process::ExitCode {
    cifs_fuse::cli::run()
}
