#!/usr/bin/env bash
# borg: a repository in the mount gets two archives, is checked, pruned, compacted and extracted from.
. "$(dirname "$0")/common.sh"

work() {
  local here=$1 local=$2
  export BORG_BASE_DIR=$local/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_REPO=$here/repository
  tree "$local/source" $((60 * SCALE))
  borg init --encryption=none
  (cd "$local" && borg create ::first source)
  noise 100000 changed >>"$local/source/large"
  mv "$local/source/module 1" "$local/source/moved"
  (cd "$local" && borg create ::second source)
  borg check --verify-data
  mkdir "$local/back"
  (cd "$local/back" && borg extract ::second)
  same "$local/source" "$local/back/source"
  # Into the mount too.
  mkdir back
  (cd back && borg extract --noxattrs ::second)
  same "$local/source" back/source
  # The source may be in the mount as well.
  borg create ::third back
  borg delete ::first
  borg compact
  borg check --verify-data
  borg list --short | tr '\n' ' ' | grep -x "second third " || fails "the archives are $(borg list --short)"
}

check() {
  local copy=$2/of-the-server
  # borg writes to a repository that it checks.
  cp -a "$1/repository" "$copy"
  BORG_BASE_DIR=$2/borg-of-root BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes borg check --verify-data "$copy"
}

start "$@"
