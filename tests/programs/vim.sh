#!/usr/bin/env bash
# vim: saves with each way to make a backup, keeps links and the undo history, recovers from its swap file.
. "$(dirname "$0")/common.sh"

# edit FILE SETTINGS COMMANDS...: in silent mode, with the swap file beside the file.
edit() {
  local file=$1 settings=$2 command arguments=()
  shift 2
  for command in "$@"; do
    arguments+=(-c "$command")
  done
  vim -N -u NONE -i NONE -es --cmd "set directory=. backupskip= $settings" "${arguments[@]}" "$file" </dev/null
}

work() {
  local here=$1 local=$2 backupcopy
  for backupcopy in yes no auto; do
    printf 'first line\nsecond line\n' >"$backupcopy"
    ln -s "$backupcopy" "$backupcopy-link"
    edit "$backupcopy" "backup backupext=.old backupcopy=$backupcopy fsync" '%s/first/changed/' wq
    [ "$(cat "$backupcopy")" = $'changed line\nsecond line' ] || fails "backupcopy=$backupcopy: $(cat "$backupcopy")"
    [ "$(cat "$backupcopy.old")" = $'first line\nsecond line' ] || fails "the backup with backupcopy=$backupcopy"
    edit "$backupcopy-link" "nobackup backupcopy=$backupcopy" '%s/second/last/' wq
    # With "no", vim renames the link itself to the backup.
    [ $backupcopy = no ] || [ -L "$backupcopy-link" ] || fails "vim has replaced the link with backupcopy=$backupcopy"
    [ "$(cat "$backupcopy-link")" = $'changed line\nlast line' ] || fails "through the link: $(cat "$backupcopy-link")"
  done
  ln auto second-name
  edit auto "backup backupcopy=auto" '%s/changed/third/' wq
  cmp auto second-name || fails "vim has broken the hard link"
  edit auto "undofile undodir=." '%s/third/fourth/' wq
  edit auto "undofile undodir=." undo wq
  [ "$(head -n 1 auto)" = "third line" ] || fails "the undo history was lost: $(head -n 1 auto)"
  [ -z "$(find . -name '*.sw?')" ] || fails "swap files are left: $(find . -name '*.sw?')"
  # A vim that is killed leaves its swap file, from which the text is recovered.
  edit yes "" "%s/changed/rescued/" preserve 'call system("kill -KILL " .. getpid())' && fails "vim was not killed"
  [ -e .yes.swp ] || fails "the killed vim has left no swap file"
  vim -N -u NONE -i NONE -es -r --cmd 'set directory=.' -c wq yes </dev/null || true
  rm .yes.swp
  [ "$(head -n 1 yes)" = "rescued line" ] || fails "the text was not recovered: $(head -n 1 yes)"
  mkdir "$local/copy"
  cp -dR . "$local/copy"
}

check() {
  same_files "$2/copy" "$1"
}

start "$@"
