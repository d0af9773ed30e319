#!/usr/bin/env bash
# rsync with links, times, hard links and extended attributes, there and back. The second time nothing is left to do.
. "$(dirname "$0")/common.sh"

work() {
  local here=$1 local=$2 flags=-rltHX
  [ "$OWNERS" = no ] || flags=-aHAX
  tree "$local/source" $((40 * SCALE))
  if [ "$OWNERS" = yes ]; then
    chmod 600 "$local/source/large"
    chmod 750 "$local/source/module 3"
    chmod 6755 "$local/source/empty"
    [ "$(id -u)" != 0 ] || chown -h 1234:2345 "$local/source/empty" "$local/source/folder-link" "$local/source/module 5"
  fi
  mark "$here" "$local/source/large" "$local/source/module 1"
  there_and_back "$flags" "$local/source" "$here/copy" "$local/back"
  # Changes are transferred, and nothing else.
  rm "$local/source/folder-link" "$local/source/third-name"
  ln -s "module 2" "$local/source/folder-link"
  echo more >>"$local/source/module 1/dépôt-1/source_1.rs"
  mv "$local/source/module 2" "$local/source/renamed"
  there_and_back "$flags --delete" "$local/source" "$here/copy" "$local/back"
}

there_and_back() {
  # The flags are words.
  # shellcheck disable=SC2086
  rsync $1 "$2/" "$3/"
  nothing_to_do "$1" "$2" "$3"
  # shellcheck disable=SC2086
  rsync $1 "$3/" "$4/"
  nothing_to_do "$1" "$2" "$4"
  same "$2" "$3"
  same "$2" "$4"
}

nothing_to_do() {
  local left
  # shellcheck disable=SC2086
  left=$(rsync -n --itemize-changes $1 "$2/" "$3/")
  [ -z "$left" ] || fails "rsync $1 from $2 to $3 would transfer again:"$'\n'"$left"
}

check() {
  same_files "$2/source" "$1/copy"
}

start "$@"
