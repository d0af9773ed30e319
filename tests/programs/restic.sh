#!/usr/bin/env bash
# restic: a repository in the mount gets two snapshots, is checked, pruned and restored from.
. "$(dirname "$0")/common.sh"

work() {
  local here=$1 local=$2
  export RESTIC_PASSWORD=secret RESTIC_REPOSITORY=$here/repository RESTIC_CACHE_DIR=$local/cache
  tree "$local/source" $((60 * SCALE))
  restic init --quiet
  (cd "$local" && restic backup --quiet --tag first source)
  noise 100000 changed >>"$local/source/large"
  mv "$local/source/module 1" "$local/source/moved"
  (cd "$local" && restic backup --quiet --tag second source)
  restic check --quiet --read-data
  restic restore --quiet latest --target "$local/back"
  same "$local/source" "$local/back/source"
  # The source may be in the mount as well.
  cp -dR "$local/source" "$here/source"
  restic backup --quiet --tag third "$here/source"
  restic forget --quiet --keep-last 1 --prune --group-by ""
  restic check --quiet --read-data
  restic restore --quiet latest --target "$local/third"
  same "$local/source" "$local/third$here/source"
}

check() {
  cp -a "$1/repository" "$2/of-the-server"
  RESTIC_PASSWORD=secret restic --repo "$2/of-the-server" --no-cache check --read-data
}

start "$@"
