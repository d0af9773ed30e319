//! The C library's allocator, kept from holding much more than is in use.
//!
//! What glibc does by itself is made for other programs: each thread gets an arena, and what is freed in one is of no use
//! for another, so that a cache that is filled by one thread and then by another takes twice its size. And holes in the
//! middle of an arena go back to the system only when that is asked for.

use std::time::Duration;

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// Free memory that is left to it, in bytes: it is about to be used again.
const SPARE: u32 = 16 << 20;

/// One arena for all threads: to be called before there are others. The large majority of allocations is small and comes
/// from a thread's own list; the others are as many as there are frames, for which one lock is enough.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a parameter of the allocator, and touches no memory of anybody.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 0 {
        tracing::debug!("the allocator takes no limit for its arenas");
    }
}

/// Gives back free memory that is more than is going to be used soon, for ever.
pub async fn give_back() {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if free() > SPARE {
            trim();
        }
    }
}

/// Free memory that the allocator holds, in bytes, up to 4 GiB.
fn free() -> u32 {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only counts. `mallinfo2`, which has wider fields, is not in every glibc that is in use.
    return unsafe { libc::mallinfo() }.fordblks.cast_unsigned();
    #[cfg(not(target_env = "gnu"))]
    return 0;
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only memory that is free is given back.
    unsafe {
        libc::malloc_trim(SPARE as usize / 2)
    };
}
