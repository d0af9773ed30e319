# Sourced by the scripts of this folder. Each of them works with a real program in a folder of a mount, as its user would:
#
#     tests/programs/NAME.sh work HERE LOCAL     works in the folder HERE of the mount, as the user of the mount; LOCAL is a
#                                                folder on a local disk for what is compared with
#     tests/programs/NAME.sh check THERE LOCAL   after the unmount, as root: checks the folder on the server's own disk
#
# The environment has SCALE, 1 for a quick run and up to 10 for a long one, and OWNERS, yes if the mount keeps owners and
# modes.
set -euo pipefail
umask 022
: "${SCALE:=1}" "${OWNERS:=no}"

# noise BYTES SEED: pseudo-random bytes, equal for equal seeds.
noise() {
  head -c "$1" /dev/zero | openssl enc -aes-128-ctr -nosalt -pass "pass:$2" -md sha256 -pbkdf2 -iter 1
}

# tree FOLDER FILES: a tree of folders and files like that of a program's source.
tree() {
  local number folder
  for ((number = 0; number < $2; number++)); do
    folder="$1/module $((number % 10))/dépôt-$((number % 3))"
    mkdir -p "$folder"
    noise $((200 + number * 7919 % 12000)) "$number" >"$folder/source_$number.rs"
  done
  noise $((3000000 * SCALE)) large >"$1/large"
  : >"$1/empty"
  ln -s "module 1/dépôt-1" "$1/folder-link"
  ln -s ../large "$1/module 1/file-link"
  ln -s "no such file" "$1/dangling-link"
  ln "$1/large" "$1/module 2/second-name"
  ln "$1/module 1/dépôt-1/source_1.rs" "$1/third-name"
  find "$1" -type f -newermt @1700000000 -print0 | xargs -0 touch -h -d '2023-11-14 22:13:20.123456700 UTC'
}

# mark FOLDER PATH...: gives each path an extended attribute, if the file system of FOLDER keeps such attributes.
mark() {
  python3 - "$@" <<'END'
import errno, os, sys
probe = os.path.join(sys.argv[1], "attributes")
open(probe, "w").close()
try:
    os.setxattr(probe, "user.colour", b"blue")
    for path in sys.argv[2:]:
        os.setxattr(path, "user.colour", b"blue")
except OSError as error:
    if error.errno != errno.ENOTSUP:
        raise
    print("without extended attributes")
os.unlink(probe)
END
}

# same LEFT RIGHT: both folders have the same names, links, and file contents.
same() {
  diff -r --no-dereference "$1" "$2"
}

# same_files LEFT RIGHT: each regular file of LEFT is in RIGHT with the same content. On the server's disk other kinds of
# files have forms of their own.
same_files() {
  local path
  (cd "$1" && find . -type f -print0) | while IFS= read -rd '' path; do
    cmp "$1/$path" "$2/$path"
  done
}

# fails WHAT: ends the script.
fails() {
  echo "FAILED: $*" >&2
  exit 1
}

start() {
  local what=$1
  export HOME=$3/home LC_ALL=C.UTF-8
  mkdir -p "$HOME"
  cd "$2"
  "$what" "$2" "$3"
}
