#!/usr/bin/env bash
# fuse-overlayfs with the mount as its lower layer, as container engines use it. As root.
. "$(dirname "$0")/common.sh"

leave() {
  fusermount3 -u "$local/merged" || umount -l "$local/merged"
}

work() {
  here=$1 local=$2
  mkdir "$here/lower" "$local/upper" "$local/work" "$local/merged"
  tree "$local/source" $((40 * SCALE))
  cp -dR "$local/source/." lower
  fuse-overlayfs -o "lowerdir=$here/lower,upperdir=$local/upper,workdir=$local/work" "$local/merged"
  trap leave EXIT
  same "$local/source" "$local/merged"
  # A change copies up; the lower layer stays as it is.
  echo more >>"$local/merged/large"
  rm "$local/merged/empty" "$local/merged/folder-link"
  rm -r "$local/merged/module 3"
  mv "$local/merged/module 4/dépôt-1" "$local/merged/moved"
  ln -s large "$local/merged/new-link"
  echo new >"$local/merged/module 1/new"
  same "$local/source" lower
  cp -dR "$local/source" "$local/expected"
  echo more >>"$local/expected/large"
  rm "$local/expected/empty" "$local/expected/folder-link"
  rm -r "$local/expected/module 3"
  mv "$local/expected/module 4/dépôt-1" "$local/expected/moved"
  ln -s large "$local/expected/new-link"
  echo new >"$local/expected/module 1/new"
  # In the merged folder, a change to one name of a file with two names changes only that name.
  diff -r --no-dereference -x second-name "$local/expected" "$local/merged"
}

check() {
  same_files "$2/source" "$1/lower"
}

start "$@"
