//! Limits on the C library's allocator, so that it holds little more memory than is in use.
//!
//! The defaults of glibc suit other programs. Each thread gets an arena, and memory freed in one arena is not reused by
//! another: a cache filled first by one thread and then by another would need twice its size. Holes in the middle of an
//! arena return to the system only on request.

use std::time::Duration;

/// Time between two checks of the free memory.
const INTERVAL: Duration = Duration::from_millis(500);
/// Free memory, in bytes, above which the allocator is trimmed. Up to this much is expected to be used again soon;
/// trimming leaves half of it.
const TRIM_THRESHOLD: u32 = 16 << 20;

/// Limits the allocator to one arena for all threads. Must be called before the first thread is started. One arena is
/// enough: most allocations are small and come from a per-thread cache, and of the others there are only a few per
/// frame.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` sets a parameter of the allocator and touches no other memory.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 0 {
        tracing::debug!("the allocator does not support a limit of its arenas");
    }
}

/// Twice a second returns free memory to the system if there is more than 16 MiB; keeps 8 MiB. Never ends.
pub async fn trim_periodically() {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if free() > TRIM_THRESHOLD {
            trim();
        }
    }
}

/// Free memory that the allocator holds, in bytes, modulo 4 GiB; 0 on other C libraries than glibc.
fn free() -> u32 {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallinfo` only counts. `mallinfo2`, whose fields are wider, is missing from older glibc versions still
    // in use.
    return unsafe { libc::mallinfo() }.fordblks.cast_unsigned();
    #[cfg(not(target_env = "gnu"))]
    return 0;
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only free memory is returned to the system.
    unsafe {
        libc::malloc_trim(TRIM_THRESHOLD as usize / 2)
    };
}
