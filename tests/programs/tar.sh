#!/usr/bin/env bash
# tar: an archive unpacked in the mount, packed there, and unpacked on a local disk.
. "$(dirname "$0")/common.sh"

work() {
  local here=$1 local=$2 unpack=(--no-same-owner) compare=-rltHX
  if [ "$OWNERS" = yes ]; then
    unpack=(--same-permissions)
    compare=-aHAX
  fi
  tree "$local/source" $((40 * SCALE))
  mark "$here" "$local/source/large" "$local/source/module 1"
  tar --xattrs -C "$local" -cf "$here/archive.tar" source
  mkdir there back
  tar --xattrs "${unpack[@]}" -C there -xf archive.tar
  same "$local/source" there/source
  [ -z "$(rsync -n --itemize-changes $compare "$local/source/" there/source/)" ] ||
    fails "differences: $(rsync -n --itemize-changes $compare "$local/source/" there/source/)"
  # Again over what is there.
  tar --xattrs "${unpack[@]}" -C there -xf archive.tar
  tar --xattrs -C there -cf "$local/again.tar" source
  mkdir "$local/back"
  tar --xattrs "${unpack[@]}" -C "$local/back" -xf "$local/again.tar"
  same "$local/source" "$local/back/source"
  [ "$(stat -c %h there/source/large)" = 2 ] || fails "the hard link is $(stat -c %h there/source/large) files"
  tar --sparse -C "$local" -czf compressed.tgz source
  tar -tzf compressed.tgz | LC_ALL=C sort >"$local/listed"
  tar -tf "$local/again.tar" | LC_ALL=C sort | cmp - "$local/listed"
}

check() {
  same_files "$2/source" "$1/there/source"
}

start "$@"
