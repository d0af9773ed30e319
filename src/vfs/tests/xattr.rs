//! Extended attributes: which there are, their values, and when the server is asked.

use super::*;
use crate::share::Attributes;
use crate::vfs::operations::Xattr;

#[test]
fn four_names_mean_two_attributes_and_others_none() {
    let named = |name: &str| Xattr::named(OsStr::new(name));
    for prefix in ["user.cifs.", "user.smb3."] {
        assert_eq!(named(&format!("{prefix}creationtime")), Some(Xattr::CreationTime));
        assert_eq!(named(&format!("{prefix}dosattrib")), Some(Xattr::FileAttributes));
    }
    for other in
        ["", "user.", "user.cifs.creationtime2", "user.cifs.creationtim", "cifs.creationtime", "USER.cifs.dosattrib"]
    {
        assert_eq!(named(other), None, "{other}");
    }
    assert_eq!(named("security.capability"), None, "the kernel asks for it before writes");
}

#[tokio::test]
async fn values_are_what_the_server_reports_in_little_endian() {
    let user = User::new();
    user.share.put("a", b"1");
    user.share.mark("a", Attributes::HIDDEN | Attributes::ARCHIVE);
    let ino = user.ino("a").await;
    let there = user.share.look("a").unwrap();
    user.share.forget_log();
    let created = operations::getxattr(&user.vfs, ino, Xattr::CreationTime).await.unwrap();
    assert_eq!(created, there.created.0.to_le_bytes());
    let attributes = operations::getxattr(&user.vfs, ino, Xattr::FileAttributes).await.unwrap();
    assert_eq!(attributes, (Attributes::HIDDEN | Attributes::ARCHIVE).to_le_bytes());
    assert_eq!(operations::known_xattr(&user.vfs, ino, Xattr::CreationTime), Some(Ok(created)));
    assert_eq!(user.share.total(), 0, "the attributes are known from the lookup");
}

#[tokio::test]
async fn a_value_that_is_not_valid_is_fetched() {
    let user = User::with_zero_timeout();
    user.share.put_directory("d");
    let ino = user.ino("d").await;
    user.share.mark("d", Attributes::DIRECTORY | Attributes::HIDDEN);
    assert_eq!(operations::known_xattr(&user.vfs, ino, Xattr::FileAttributes), None);
    user.share.forget_log();
    let attributes = operations::getxattr(&user.vfs, ino, Xattr::FileAttributes).await.unwrap();
    assert_eq!(attributes, (Attributes::DIRECTORY | Attributes::HIDDEN).to_le_bytes());
    assert_eq!(user.share.total(), 1);
}

#[tokio::test]
async fn the_size_of_a_file_stays_news_to_the_kernel() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.put("a", b"123");
    operations::getxattr(&user.vfs, ino, Xattr::CreationTime).await.unwrap();
    let file = user.vfs.names.file(ino).unwrap();
    assert!(file.lock().is_resized(), "an extended attribute does not carry the size");
}

#[tokio::test]
async fn a_name_that_means_another_file_is_stale() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.remove_as_other_client_at_once("a");
    assert_eq!(errno(operations::getxattr(&user.vfs, ino, Xattr::CreationTime).await), libc::ESTALE);
}
