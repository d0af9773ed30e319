#!/usr/bin/env bash
# git: a clone, commits, gc, a worktree, fsck, and a clone back.
. "$(dirname "$0")/common.sh"

commit() {
  git -C "$1" add --all
  git -C "$1" commit --quiet -m "$2"
}

work() {
  local here=$1 local=$2 number
  git config --global user.name tests
  git config --global user.email tests@localhost
  git config --global init.defaultBranch main
  git config --global gc.auto 0
  git init --quiet "$local/origin"
  tree "$local/origin" $((50 * SCALE))
  commit "$local/origin" first
  git clone --quiet "file://$local/origin" clone
  [ "$(git -C clone config core.symlinks)" != false ] || fails "git found that links cannot be made"
  diff -r --no-dereference -x .git "$local/origin" clone
  [ -z "$(git -C clone status --porcelain)" ] || fails "a new clone has changes: $(git -C clone status --porcelain)"
  for ((number = 0; number < 3 + SCALE; number++)); do
    noise 5000 "new $number" >"clone/new $number"
    echo "$number" >>clone/large
    commit clone "commit $number"
  done
  git -C clone worktree add --quiet -b side ../side
  ln -sf "new 1" side/folder-link
  git -C side rm --quiet -r "module 3"
  commit side "in the worktree"
  git -C clone merge --quiet side
  git -C clone mv "module 4" moved
  commit clone moved
  git -C clone gc --quiet
  git -C clone repack --quiet -a -d -f
  git -C clone worktree remove ../side
  git -C clone fsck --full --strict
  [ -z "$(git -C clone status --porcelain)" ] || fails "changes after gc: $(git -C clone status --porcelain)"
  git clone --quiet "file://$here/clone" "$local/back"
  diff -r --no-dereference -x .git "$local/back" clone
  # A clone on the same file system makes hard links to the objects.
  git clone --quiet --local clone linked
  git -C linked fsck --full
  git -C clone push --quiet origin HEAD:pushed
  [ "$(git -C "$local/origin" rev-parse pushed)" = "$(git -C clone rev-parse HEAD)" ] || fails "the push arrived elsewhere"
  git -C clone rev-parse HEAD >"$local/head"
}

check() {
  git -c safe.directory="*" --git-dir="$1/clone/.git" fsck --full --strict
  [ "$(git -c safe.directory="*" --git-dir="$1/clone/.git" rev-parse HEAD)" = "$(cat "$2/head")" ] || fails "HEAD on the server's disk"
}

start "$@"
