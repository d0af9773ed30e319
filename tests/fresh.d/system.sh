# Sourced by tests/fresh: how the new system is made, what it gets from the host, and how it is removed.

# Pattern of the environment variables that configure the host's network access. None of them holds a secret.
NETWORK='^((http|https|ftp|all|no)_proxy|(HTTP|HTTPS|FTP|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|CARGO_(HTTP|NET)_.*)$'
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

# make_system: makes a bare Debian in $root, with the clone and the host's toolchain.
make_system() {
  mkdir "$root"
  if [ -n "$base" ] && [ -e "$base" ]; then
    echo "== unpacking the bare Debian from $base, made on $(date -r "$base" +%F)"
    tar -C "$root" --numeric-owner -xpf "$base"
  else
    bootstrap
    [ -z "$base" ] || tar -C "$root" --numeric-owner -cpf "$base" .
  fi
  chmod 0700 "$root/root"
  lend_network
  [ "$old_cargo" = yes ] || lend_rust
  mkdir -p "$(dirname "$root$place")"
  git clone --quiet --no-hardlinks "$checkout" "$root$place"
  echo "== cloned $(git rev-parse --short HEAD) into $place of the new system"
}

bootstrap() {
  local from=${mirror:-$(mirror_of_apt)}
  if [ -z "$from" ]; then
    echo "apt has no Debian mirror in its sources: name one with --mirror URL" >&2
    return 1
  fi
  echo "== debootstrap $suite (some 100 packages, a minute or two)"
  debootstrap --variant=minbase "$suite" "$root" "$from" >"$scratch/debootstrap.log" || {
    tail -n 20 "$scratch/debootstrap.log" >&2
    return 1
  }
}

# mirror_of_apt: prints the mirror from which the host's apt gets this release, or else a mirror of another
# Debian release.
mirror_of_apt() {
  apt-get indextargets --format '$(RELEASE) $(CODENAME) $(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$suite" '
      $NF !~ /^https?:/ || $(NF - 1) != "main" { next }
      $1 == suite || $2 == suite { print $NF; found = 1; exit }
      $3 == "Debian" && $1 !~ /-/ && !other { other = $NF }
      END { if (!found) print other }'
}

# lend_network: copies the host's name resolution, certificates and apt options.
lend_network() {
  local file
  for file in /etc/resolv.conf /etc/hosts "$CERTIFICATES" "${SSL_CERT_FILE:-}" "${CARGO_HTTP_CAINFO:-}"; do
    [ ! -e "$file" ] || install -D -m 0644 "$file" "$root$file"
  done
  # Installing the package ca-certificates would generate its bundle again from this folder.
  [ ! -d /usr/local/share/ca-certificates ] || cp -a /usr/local/share/ca-certificates "$root/usr/local/share/"
  apt-config dump Acquire | grep -v '^Acquire::IndexTargets' >"$root/etc/apt/apt.conf.d/99-as-on-the-host"
}

# lend_rust: links the host's toolchain and copies its downloaded crates and cargo's settings. enter_system
# mounts the toolchain at /opt/rust.
lend_rust() {
  local cargo_home=${CARGO_HOME:-$HOME/.cargo} there=$root/root/.cargo toolchain program part
  toolchain=$(rustc --print sysroot)
  case $toolchain in
    / | /usr | /usr/local)
      echo "the Rust in $toolchain cannot be mounted in another system: install one with rustup" >&2
      return 1
      ;;
  esac
  mkdir -p "$root/opt/rust" "$there/bin" "$there/registry"
  ln -s "$toolchain" "$scratch/toolchain"
  for program in cargo rustc rustdoc; do
    ln -s "/opt/rust/bin/$program" "$there/bin/$program"
  done
  for part in registry/index registry/cache config.toml config; do
    [ ! -e "$cargo_home/$part" ] || cp -aL "$cargo_home/$part" "$there/$part"
  done
  echo "== the new system has the host's Rust and $(find "$there/registry" -name '*.crate' | wc -l) downloaded crates"
}

# enter_system: mounts in the new namespaces what a running system has.
enter_system() {
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  if [ -e "$root/opt/rust" ]; then
    mount --bind -o ro "$(readlink "$root/../toolchain")" "$root/opt/rust"
  fi
}

# there COMMAND...: runs a command in the new system's clone like a login of root. Of this environment only
# the variables for network access are passed on.
there() {
  local variables=() name
  for name in $(compgen -e | grep -E "$NETWORK"); do
    variables+=("$name=${!name}")
  done
  env -i "${variables[@]}" HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$root" sh -c 'cd "$0" && exec "$@"' "$place" "$@" 2>&1
}

# clean_up: ends the new system and removes it, after success and failure.
clean_up() {
  local minor
  trap '' INT TERM HUP
  if [ -n "$inside" ]; then
    # A process that waits for a dead mount cannot be killed, so the FUSE connections are aborted first.
    for minor in $(sed -n "s|^[0-9]* [0-9]* 0:\([0-9]*\) [^ ]* $root/.* - fuse\.cifs .*|\1|p" "/proc/$inside/mountinfo"); do
      echo 1 >"/sys/fs/fuse/connections/$minor/abort" || true
    done
    # Without the redirection the shell would print the whole command that it kills.
    { kill -KILL "$inside" && wait "$inside"; } 2>/dev/null || true
  fi
  if grep -q " $scratch/" /proc/self/mountinfo; then
    echo "a mount is left below $scratch: unmount it and remove the folder" >&2
  else
    echo "== removing the new system"
    rm -rf --one-file-system "$scratch"
  fi
}
