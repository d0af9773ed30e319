//! Watched directories: the trait's methods, which [`SmbWatch`] carries out.

use crate::share::listing::SmbListing;
use crate::share::previous;
use crate::share::smb::SmbShare;
use crate::share::types::*;
use crate::share::watch::SmbWatch;
use crate::share::{Names, Result, Watches};

impl Watches for SmbShare {
    type Watch = SmbWatch;

    async fn list_watched(&self, path: &RemotePath) -> Result<(SmbListing, Option<SmbWatch>)> {
        // A previous version does not change.
        if path.is_previous() {
            return Ok((self.list(path).await?, None));
        }
        let watched = self.list_and_watch(path).await;
        self.or_versions(path, watched, |tokens| (previous::listing_of(path, tokens), None)).await
    }

    async fn look_again(&self, watch: &SmbWatch) -> Result<Again> {
        let mut again = watch.look_again(self).await?;
        if let Again::Everything { entries, .. } = &mut again {
            self.recognise(watch.path(), entries).await?;
        }
        Ok(again)
    }

    fn is_armed(&self, watch: &SmbWatch) -> bool {
        watch.is_armed(self)
    }

    fn lease(&self, watch: &SmbWatch) -> Option<LeaseKey> {
        watch.lease()
    }

    async fn changes(&self, watch: &SmbWatch, armed: impl FnOnce() + Send) -> Result<Option<Vec<DirChange>>> {
        watch.changes(self, armed).await
    }

    async fn is_being_removed(&self, watch: &SmbWatch) -> Result<bool> {
        watch.is_being_removed(self).await
    }

    fn unwatch(&self, watch: &SmbWatch) {
        watch.end(self);
    }
}
