# Sourced by the scripts that need programs: installs what a bare Debian or Ubuntu lacks, and starts none of it.

# A shell of an ordinary user may lack these.
PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

# as_root COMMAND...: runs it as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "this needs root, and there is no sudo: $*" >&2
    return 1
  fi
}

# need PROGRAM=PACKAGES...: installs the packages of every program that is missing.
need() {
  local pair packages=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || read -ra packages <<<"${packages[*]} ${pair#*=}"
  done
  if [ ${#packages[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
      echo "please install what Debian calls: ${packages[*]}" >&2
      return 1
    fi
    echo "== installing ${packages[*]}"
    install_quietly "${packages[@]}"
  fi
  if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install Rust, 1.95 or newer (rustup, or a package that is new enough)" >&2
    return 1
  fi
}

# install_quietly PACKAGES...: without starting their services (a policy-rc.d that is there for the moment).
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

# need_fuse: makes /dev/fuse usable for everybody, as udev does, and FUSE connections abortable.
need_fuse() {
  if [ ! -e /dev/fuse ] && ! as_root modprobe fuse; then
    echo "there is no /dev/fuse; a container needs: --device /dev/fuse --cap-add SYS_ADMIN" >&2
    return 1
  fi
  if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
    echo "== chmod 666 /dev/fuse"
    as_root chmod 666 /dev/fuse
  fi
  if ! mountpoint -q /sys/fs/fuse/connections; then
    echo "== mount -t fusectl /sys/fs/fuse/connections"
    as_root mount -t fusectl fusectl /sys/fs/fuse/connections
  fi
}
