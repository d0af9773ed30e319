#!/bin/bash
# Runs in the bare Debian of tests/package, as root.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# check TEXT COMMAND...: runs the command; its failure ends the script.
check() {
  local text=$1
  shift
  if "$@" >/root/output 2>&1; then
    echo "pass: $text"
  else
    echo "FAIL: $text: $*"
    cat /root/output
    exit 1
  fi
}

has_mode() {
  [ "$(stat -c '%a %U' "$2")" = "$1 root" ]
}

# A manual page that man can format without a warning.
is_page() {
  local said
  said=$(LC_ALL=C.UTF-8 man --warnings "$@" 2>&1 >/dev/null) && [ -z "$said" ]
}

serve() {
  useradd -m ann
  mkdir -p /srv/media
  echo content >/srv/media/file
  chown -R ann /srv/media
  cp /root/smb.conf /etc/samba/smb.conf
  sed -i 's/^\[global\]/&\n  smb ports = 44450/' /etc/samba/smb.conf
  printf 'secret\nsecret\n' | smbpasswd -s -a ann
  smbd --daemon
  for _ in $(seq 50); do
    (: </dev/tcp/127.0.0.1/44450) 2>/dev/null && return
    sleep 0.2
  done
  return 1
}

# /etc/passwd and others come from packages, so services must not start in this system.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
# A minimal system leaves out the manual; this one is to have it.
rm -f /etc/dpkg/dpkg.cfg.d/docker
check "apt update" apt-get update
check "a server and man are installed" apt-get install -y --no-install-recommends samba man-db bash-completion systemd
check "apt install ./cifs-fuse.deb" apt-get install -y --no-install-recommends /root/cifs-fuse.deb
check "fuse3 came with it" test -u /usr/bin/fusermount3
check "/etc/cifs-fuse is for root alone" has_mode 700 /etc/cifs-fuse
check "the helper is a link to the program" test "$(readlink -f /sbin/mount.fuse.cifs)" = /usr/bin/cifs-fuse
check "cifs-fuse(1)" is_page 1 cifs-fuse
check "mount.fuse.cifs(8)" is_page 8 mount.fuse.cifs
for file in bash-completion/completions/cifs-fuse zsh/vendor-completions/_cifs-fuse fish/vendor_completions.d/cifs-fuse.fish \
  doc/cifs-fuse/copyright doc/cifs-fuse/THIRD-PARTY-LICENSES.gz doc/cifs-fuse/examples/mnt-nas.mount; do
  check "/usr/share/$file" test -s "/usr/share/$file"
done
check "the service" systemd-analyze verify --man=no cifs-fuse@nas.service
check "the service of a user" env XDG_RUNTIME_DIR=/run systemd-analyze --user verify --man=no cifs-fuse@nas.service
check "a server" serve
printf 'username=ann\npassword=secret\n' >/etc/cifs-fuse/nas
chmod 600 /etc/cifs-fuse/nas
mkdir /mnt/nas
check "mount -t fuse.cifs" mount -t fuse.cifs -o credentials=/etc/cifs-fuse/nas cifs://127.0.0.1:44450/media /mnt/nas
check "the share is there" grep -q content /mnt/nas/file
check "umount" umount /mnt/nas
check "installed again" apt-get install -y --reinstall /root/cifs-fuse.deb
check "the credentials are kept" grep -q secret /etc/cifs-fuse/nas
check "purge" apt-get purge -y cifs-fuse
check "the credentials are still kept" grep -q secret /etc/cifs-fuse/nas
check "the program and the link are gone" test ! -e /usr/bin/cifs-fuse -a ! -L /usr/sbin/mount.fuse.cifs
rm /etc/cifs-fuse/nas
check "installed once more" apt-get install -y /root/cifs-fuse.deb
check "purge with an empty /etc/cifs-fuse" apt-get purge -y cifs-fuse
check "which is removed then" test ! -e /etc/cifs-fuse
