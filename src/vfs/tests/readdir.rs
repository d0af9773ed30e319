//! Listing directories.

use super::*;
use crate::share::FileKind;
use crate::wire::NtStatus;

/// An entry that the kernel gets.
#[derive(Debug)]
struct Seen {
    name: String,
    next: u64,
    ino: u64,
    kind: FileKind,
    attr: Option<Attr>,
}

/// One request of the kernel, with room for `room` entries.
async fn page(user: &User, handle: u64, offset: u64, plus: bool, room: usize) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut take = |entry: Listed<'_>| {
        if seen.len() == room {
            return true;
        }
        let name = entry.name.to_string_lossy().into_owned();
        seen.push(Seen { name, next: entry.next, ino: entry.ino, kind: entry.kind, attr: entry.attr });
        false
    };
    operations::readdir(&user.vfs, handle, offset, plus, &mut take).await?;
    Ok(seen)
}

fn names(page: &[Seen]) -> Vec<&str> {
    page.iter().map(|entry| entry.name.as_str()).collect()
}

fn user_with_files(count: usize) -> User {
    let user = User::new();
    for number in 0..count {
        user.share.put(&format!("f{number:04}"), b"");
    }
    user
}

#[tokio::test]
async fn a_listing_has_the_dots_and_each_entry_once() {
    let user = user_with_files(250);
    user.share.put_directory("z");
    let handle = operations::opendir(&user.vfs, ROOT);
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let page = page(&user, handle, offset, false, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        offset = last.next;
        all.extend(page);
    }
    assert_eq!(all.len(), 253);
    assert_eq!(names(&all[..4]), [".", "..", "f0000", "f0001"]);
    assert_eq!((all[252].name.as_str(), all[252].kind), ("z", FileKind::Directory));
    assert_eq!(all[2].ino, user.ino("f0000").await);
    let mut unique = names(&all);
    unique.dedup();
    assert_eq!(unique.len(), 253);
}

#[tokio::test]
async fn entries_with_attributes_need_no_lookup() {
    let user = user_with_files(3);
    let handle = operations::opendir(&user.vfs, ROOT);
    let page = page(&user, handle, 0, true, 100).await.unwrap();
    assert!(page[..2].iter().all(|dot| dot.attr.is_none() && dot.ino == ROOT));
    let attr = page[2].attr.unwrap();
    assert_eq!((attr.ino, attr.size), (page[2].ino, 0));
    assert!(attr.ttl > Duration::ZERO);
    user.share.forget_log();
    operations::getattr(&user.vfs, attr.ino).await.unwrap();
    assert_eq!(user.share.total(), 0);
    assert_eq!(user.ino("f0000").await, attr.ino);
}

#[tokio::test]
async fn an_entry_that_did_not_fit_counts_as_no_lookup_by_the_kernel() {
    let user = user_with_files(3);
    let handle = operations::opendir(&user.vfs, ROOT);
    let page_one = page(&user, handle, 0, true, 3).await.unwrap();
    assert_eq!(user.vfs.names.len(), 2, "the root and the entry that fitted");
    let page_two = page(&user, handle, page_one[2].next, true, 3).await.unwrap();
    assert_eq!(names(&page_two), ["f0001", "f0002"]);
    assert!(page_two[0].attr.is_some());
}

#[tokio::test]
async fn an_earlier_offset_can_be_read_again() {
    let user = user_with_files(250).mounted_with_zero_timeout();
    let handle = operations::opendir(&user.vfs, ROOT);
    let all = page(&user, handle, 0, true, 1000).await.unwrap();
    user.share.remove_as_other_client_at_once("f0101");
    user.share.forget_log();
    let again = page(&user, handle, all[100].next, false, 3).await.unwrap();
    assert_eq!(names(&again), ["f0099", "f0100", "f0101"]);
    assert_eq!(user.share.total(), 0);
    // With attributes, entries are looked up again, and entries that are gone are left out.
    let again = page(&user, handle, all[100].next, true, 3).await.unwrap();
    assert_eq!(names(&again), ["f0099", "f0100", "f0102"]);
}

#[tokio::test]
async fn an_offset_beyond_the_entries_that_were_read_is_found() {
    let user = user_with_files(250);
    let handle = operations::opendir(&user.vfs, ROOT);
    assert_eq!(names(&page(&user, handle, 202, false, 2).await.unwrap()), ["f0200", "f0201"]);
    assert_eq!(page(&user, handle, 10_000, false, 2).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_rewind_lists_anew() {
    let user = user_with_files(1).mounted_with_zero_timeout();
    let handle = operations::opendir(&user.vfs, ROOT);
    page(&user, handle, 0, false, 100).await.unwrap();
    user.share.put("new", b"");
    assert_eq!(page(&user, handle, 3, false, 100).await.unwrap().len(), 0, "the earlier listing has ended");
    assert_eq!(names(&page(&user, handle, 0, false, 100).await.unwrap()), [".", "..", "f0000", "new"]);
}

#[tokio::test]
async fn an_empty_directory_lists_only_its_dots() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    let d = user.ino("d").await;
    let handle = operations::opendir(&user.vfs, d);
    let page = page(&user, handle, 0, false, 100).await.unwrap();
    assert_eq!(page.iter().map(|entry| (entry.name.as_str(), entry.ino)).collect::<Vec<_>>(), [(".", d), ("..", ROOT)]);
}

#[tokio::test]
async fn names_that_could_lead_out_of_the_directory_are_left_out() {
    let user = User::new();
    user.share.put_name("", &"a/b".encode_utf16().collect::<Vec<_>>());
    user.share.put_name("", &"..".encode_utf16().collect::<Vec<_>>());
    user.share.put_name("", &[0]);
    user.share.put_name("", &[0x61, 0xD800]);
    user.share.put("good", b"");
    let listed = user.ls("").await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&"good".to_owned()));
}

#[tokio::test]
async fn a_listing_that_fails_half_way_does_not_look_complete() {
    let user = user_with_files(250);
    let handle = operations::opendir(&user.vfs, ROOT);
    user.share.refuse("QUERY_DIRECTORY", 4, NtStatus::UNEXPECTED_NETWORK_ERROR);
    let first = page(&user, handle, 0, false, 1000).await.unwrap();
    assert_eq!(first.len(), 202);
    let offset = first[201].next;
    assert_eq!(errno(page(&user, handle, offset, false, 1000).await), libc::EIO);
    assert_eq!(errno(page(&user, handle, offset, false, 1000).await), libc::EIO);
    assert_eq!(page(&user, handle, 0, false, 1000).await.unwrap().len(), 252, "a rewind lists again");
}

#[tokio::test]
async fn a_listing_does_not_shrink_a_file_that_is_being_written() {
    let user = User::new();
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    let handle = operations::opendir(&user.vfs, ROOT);
    let gate = user.share.hold_answer("QUERY_DIRECTORY");
    let listing = page(&user, handle, 0, true, 10);
    let writing = async {
        gate.reached().await;
        user.write(opened, 0, b"12345").await.unwrap();
        gate.open();
    };
    let (listed, ()) = tokio::join!(listing, writing);
    assert_eq!(listed.unwrap()[2].attr.unwrap().size, 5);
    assert_eq!(operations::getattr(&user.vfs, attr.ino).await.unwrap().size, 5);
}

#[tokio::test]
async fn an_entry_that_was_deleted_since_it_was_listed_is_not_valid() {
    let user = user_with_files(4);
    let handle = operations::opendir(&user.vfs, ROOT);
    let first = page(&user, handle, 0, true, 3).await.unwrap();
    operations::unlink(&user.vfs, ROOT, OsStr::new("f0002")).await.unwrap();
    let rest = page(&user, handle, first[2].next, true, 10).await.unwrap();
    assert_eq!(names(&rest), ["f0001", "f0002", "f0003"]);
    // The kernel asks for the name as soon as a program uses it.
    assert_eq!(rest[1].attr.unwrap().ttl, Duration::ZERO);
    assert_eq!(errno(user.look("f0002").await), libc::ENOENT);
}

#[tokio::test]
async fn a_directory_of_100_000_entries_is_listed() {
    let share = MemoryShare::with(Behaviour { batch: 1000, ..Behaviour::default() });
    let user = User::on(share);
    for number in 0..100_000u32 {
        user.share.put_name("", &format!("file number {number}").encode_utf16().collect::<Vec<_>>());
    }
    assert_eq!(user.ls("").await.unwrap().len(), 100_000);
    // One request to open, one for each thousand entries, one that reports the end.
    assert_eq!(user.share.count("QUERY_DIRECTORY"), 102);
}

#[tokio::test]
async fn listing_a_directory_that_is_gone_or_not_open_fails() {
    let user = User::new();
    user.share.put_directory("d");
    let handle = operations::opendir(&user.vfs, user.ino("d").await);
    user.rmdir("d").await.unwrap();
    assert_eq!(errno(page(&user, handle, 2, false, 10).await), libc::ESTALE);
    operations::releasedir(&user.vfs, handle);
    assert_eq!(errno(page(&user, handle, 0, false, 10).await), libc::EBADF);
}
