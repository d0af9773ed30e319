# Sourced by the scripts that need programs. Reports what the host cannot do, and installs the packages that a
# bare Debian or Ubuntu lacks, without starting their services. All of this is done before the build, so that
# missing parts are reported at once.

# The PATH of an ordinary user's shell may lack these folders.
PATH="$PATH:/usr/sbin:/sbin"
# A query of the version must not make rustup download a toolchain.
export RUSTUP_AUTO_INSTALL=0

# as_root COMMAND...: runs it as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "this command needs root, and sudo is missing: run it as root: $*" >&2
    return 1
  fi
}

# need WHAT=PACKAGES...: installs the packages of every WHAT that is missing. WHAT is a program, or a glob of
# files if it contains a slash.
need() {
  local pair packages=()
  for pair in "$@"; do
    is_there "${pair%%=*}" || read -ra packages <<<"${packages[*]} ${pair#*=}"
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "apt-get is missing: install these packages (Debian's names): ${packages[*]}" >&2
    return 1
  fi
  echo "== installing ${packages[*]}"
  install_quietly "${packages[@]}"
}

is_there() {
  case $1 in
    */*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# install_quietly PACKAGES...: installs packages without starting their services. A temporary policy-rc.d
# prevents the start.
install_quietly() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'as_root rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  fi
  as_root apt-get update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
)

# need_rust: puts a Rust that is new enough first on PATH. Without one, prints how to install it and fails.
need_rust() {
  local least folder found=() problem
  least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  # rustup's folder is on the PATH only of shells that were started after its installation.
  for folder in "$(dirname "$(command -v cargo || echo /none)")" "${CARGO_HOME:-$HOME/.cargo}/bin"; do
    [ -x "$folder/cargo" ] || continue
    problem=$(PATH="$folder:$PATH" rust_problem "$least")
    if [ -z "$problem" ]; then
      PATH="$folder:$PATH"
      return 0
    fi
    found+=("$problem")
  done
  [ ${#found[@]} -gt 0 ] || found=("cargo is missing")
  printf '%s\n' "${found[@]}" | sort -u >&2
  echo "Rust $least or newer is needed. This line installs it in your home folder:" >&2
  echo "  $(rust_installation)" >&2
  return 1
}

# rust_problem LEAST: prints what is wrong with the cargo and the rustc on PATH; nothing if both are new
# enough.
rust_problem() {
  local program said version
  for program in cargo rustc; do
    if ! said=$("$program" --version 2>&1); then
      echo "$(command -v "$program" || echo "$program") does not work: ${said%%$'\n'*}"
      return
    fi
    version=$(cut -d ' ' -f 2 <<<"$said")
    if [ "$(printf '%s\n' "$1" "$version" | sort -V | head -n 1)" != "$1" ]; then
      echo "$(command -v "$program") is too old: version $version"
      return
    fi
  done
}

# rust_installation: prints one line that installs a Rust that is new enough.
rust_installation() {
  local rustup sudo="" curl=""
  rustup=$(PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin" command -v rustup) || rustup=
  if [ -n "$rustup" ]; then
    echo "$rustup toolchain install stable --profile minimal && $rustup default stable"
    return
  fi
  [ "$(id -u)" = 0 ] || sudo="sudo "
  command -v curl >/dev/null || curl="${sudo}apt-get update && ${sudo}apt-get install -y curl ca-certificates && "
  echo "${curl}curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
}

# need_fuse: makes /dev/fuse usable for every user, as udev does. Fails with the remedy if that is impossible.
need_fuse() {
  if [ ! -e /dev/fuse ] && ! { command -v modprobe >/dev/null && as_root modprobe fuse && [ -e /dev/fuse ]; }; then
    echo "/dev/fuse is missing. On a host, run: modprobe fuse. Start a container with: --device /dev/fuse --cap-add SYS_ADMIN" >&2
    return 1
  fi
  if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
    echo "== chmod 666 /dev/fuse"
    as_root chmod 666 /dev/fuse
  fi
  if ! (: <>/dev/fuse) 2>/dev/null; then
    echo "/dev/fuse cannot be opened. If the kernel has no FUSE, run: modprobe fuse. Start a container with: --device /dev/fuse" >&2
    return 1
  fi
  # CAP_SYS_ADMIN is capability 21. If it is not in the bounding set, even root cannot mount.
  if (((0x$(sed -n 's/^CapBnd:\s*//p' /proc/self/status) >> 21 & 1) == 0)); then
    echo "mounting is impossible: CAP_SYS_ADMIN is missing. Start a container with: --cap-add SYS_ADMIN" >&2
    return 1
  fi
}

# need_fuse_control: mounts the FUSE control file system, as systemd does, so that connections can be aborted.
need_fuse_control() {
  if ! mountpoint -q /sys/fs/fuse/connections; then
    echo "== mount -t fusectl /sys/fs/fuse/connections"
    as_root mount -t fusectl fusectl /sys/fs/fuse/connections
  fi
}

# need_open_folder: sets TMPDIR to a folder that every user can enter, because some tests run as another user.
need_open_folder() {
  local folder
  for folder in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    if every_user_may_enter "$folder"; then
      export TMPDIR=$folder
      return 0
    fi
  done
  echo "no folder for temporary files can be entered by every user: neither ${TMPDIR:-/tmp} nor /tmp nor /var/tmp" >&2
  return 1
}

# every_user_may_enter FOLDER: succeeds if every user may enter the folder and all folders above it.
every_user_may_enter() {
  local folder
  folder=$(readlink -e "$1") || return 1
  while [ $((0$(stat -c %a "$folder") & 1)) = 1 ]; do
    [ "$folder" != / ] || return 0
    folder=$(dirname "$folder")
  done
  return 1
}
