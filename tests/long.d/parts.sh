# Sourced by tests/long: the parts, what each needs, as whom it runs, and for how long.

PARTS=(pjdfstest npm venv cargo make git tar rsync vim borg restic postgres overlay)

# What each part is about, for --list.
declare -A about=(
  [pjdfstest]="the suite of POSIX cases of the crate pjdfstest, once for each way to keep owners and modes"
  [npm]="npm install, ci, start and uninstall, with links to programs"
  [venv]="a Python environment, and pip install from a wheel"
  [cargo]="cargo build and test of a workspace"
  [make]="make of a C program, and installing it with links"
  [git]="git clone, commits, gc, repack, worktree, fsck, push"
  [tar]="tar there and back"
  [rsync]="rsync there and back, with links and extended attributes; the second time nothing is to be done"
  [vim]="vim's ways to save, its undo history and its recovery"
  [borg]="a borg repository: init, create, check, extract, delete, compact"
  [restic]="a restic repository: init, backup, check, restore, prune"
  [postgres]="PostgreSQL: initdb, pgbench for a minute, an immediate stop, recovery, checksums"
  [overlay]="fuse-overlayfs with its lower layer in the mount"
)

# PROGRAM=PACKAGES, as need takes them, without spaces in the packages.
declare -A needs=(
  [pjdfstest]=""
  [npm]="npm=npm node=nodejs"
  [venv]="/usr/bin/python3=python3 /usr/lib/python3*/ensurepip/__init__.py=python3-venv"
  [cargo]=""
  [make]="make=make cc=gcc /usr/include/stdio.h=libc6-dev"
  [git]="git=git"
  [tar]="tar=tar python3=python3"
  [rsync]="rsync=rsync python3=python3"
  [vim]="vim=vim"
  [borg]="borg=borgbackup"
  [restic]="restic=restic"
  [postgres]="/usr/lib/postgresql/*/bin/pgbench=postgresql"
  [overlay]="fuse-overlayfs=fuse-overlayfs"
)

# The users of each part: root, or the name of an account that every Debian has or that the part's package makes.
declare -A users=(
  [pjdfstest]=root
  [npm]="root daemon"
  [venv]="root daemon"
  [cargo]=root
  [make]="root daemon"
  [git]="root daemon"
  [tar]="root daemon"
  [rsync]="root daemon"
  [vim]="root daemon"
  [borg]="root daemon"
  [restic]="root daemon"
  [postgres]=postgres
  [overlay]=root
)

# The time after which the watchdog ends a case, in seconds.
declare -A limits=([pjdfstest]=900 [git]=900 [postgres]=900)
LIMIT=600

# The ways to keep owners and modes. Each has lines for the share in smb.conf, separated by semicolons, and options of the
# mount.
POLICIES=(plain owners)
declare -A server_lines=(
  [plain]=""
  [owners]="vfs objects = acl_xattr;map archive = no;map readonly = no"
)
declare -A mount_options=(
  [plain]=""
  [owners]="--owner=server"
)
# What a program must know: whether owners and modes are kept.
declare -A keeps_owners=([plain]=no [owners]=yes)

# PostgreSQL wants the folder of its data closed to others, and makes the folder so if it can.
declare -A part_options=([postgres]="--file-mode=0600 --dir-mode=0700")

# The parts that are also run where owners are kept.
WITH_OWNERS=(pjdfstest tar rsync)

list_parts() {
  local part
  for part in "${PARTS[@]}"; do
    printf '%-10s %s\n' "$part" "${about[$part]}"
  done
}

is_part() {
  [ -n "${about[$1]:-}" ]
}

is_chosen() {
  [[ " ${chosen[*]} " = *" $1 "* ]]
}
