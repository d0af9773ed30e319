#!/bin/bash
# Runs in the container of tests/systemd-live: prints a line for each case, and at the end how many passed.
set -u

# How long a share may be away after a fault, in seconds: the service waits 30 s before it starts again.
BACK=50
# A user with a manager of its own.
USER_NAME=ann
USER_ID=1000

passed=0 failed=0

prepare() {
  ip link set lo up 2>/dev/null || true
  mkdir -p /srv/media /mnt/auto /mnt/plain /mnt/nas /mnt/service
  chmod 666 /dev/fuse
  useradd -u $USER_ID -m $USER_NAME
  printf 'secret\nsecret\n' | smbpasswd -s -a $USER_NAME >/dev/null
  echo content >/srv/media/file
  chown -R $USER_NAME /srv/media
  systemd-run --quiet --unit=server smbd --foreground --no-process-group
  install -d -m 0700 /etc/cifs-fuse
  for name in nas service; do
    printf 'username=%s\npassword=secret\n' $USER_NAME >/etc/cifs-fuse/$name.credentials
  done
  chmod 600 /etc/cifs-fuse/*
  printf 'URL=cifs://127.0.0.1/media\nMOUNTPOINT=/mnt/service\nOPTIONS=--allow-other\n' >/etc/cifs-fuse/service.conf
  cat >/etc/fstab <<END
cifs://127.0.0.1/media /mnt/auto fuse.cifs _netdev,nofail,x-systemd.automount,credentials=/etc/cifs-fuse/nas.credentials 0 0
cifs://127.0.0.1/media /mnt/plain fuse.cifs _netdev,nofail,restart,credentials=/etc/cifs-fuse/nas.credentials 0 0
END
  local settings=/home/$USER_NAME/.config/cifs-fuse
  install -d -o $USER_NAME -m 0700 /home/$USER_NAME/.config $settings
  install -d -o $USER_NAME /home/$USER_NAME/nas
  install -o $USER_NAME -m 0600 /etc/cifs-fuse/nas.credentials $settings/nas.credentials
  printf 'URL=cifs://127.0.0.1/media\nMOUNTPOINT=/home/%s/nas\nOPTIONS=\n' $USER_NAME >$settings/nas.conf
  systemctl start user@$USER_ID.service
  systemctl daemon-reload
  for _ in {1..50}; do
    (: </dev/tcp/127.0.0.1/445) 2>/dev/null && break
    sleep 0.2
  done
}

# of_user COMMAND...: runs it as the user, with its manager.
of_user() {
  setpriv --reuid=$USER_ID --regid=$USER_ID --init-groups env HOME=/home/$USER_NAME XDG_RUNTIME_DIR=/run/user/$USER_ID \
    DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$USER_ID/bus "$@"
}

# process_of DIRECTORY: the process that serves the mount there.
process_of() {
  pgrep -n -f "(cifs-fuse|mount\.fuse\.cifs) .*$1( |\$)"
}

# kill_at DIRECTORY [--guardian]: kills the process that serves the mount there, and with it its guardian.
kill_at() {
  local process guardian=""
  process=$(process_of "$1")
  if [ "${2:-}" = --guardian ]; then
    guardian=$(pgrep -P "$process" cifs-guardian) || echo "(process $process has no guardian)"
  fi
  kill -KILL $guardian "$process" || {
    failed=$((failed + 1))
    echo "FAIL: nothing was killed at $1"
  }
}

listed() {
  $as timeout -s KILL 5 cat "$1/file" >/dev/null 2>&1
}

# back DIRECTORY LIMIT: waits until the share can be used, and prints after how many seconds.
back() {
  local start=$SECONDS
  until listed "$1"; do
    [ $((SECONDS - start)) -lt "$2" ] || return 1
    sleep 0.5
  done
  echo $((SECONDS - start))
}

verdict() {
  local what=$1 directory=$2 unit=$3 wanted=$4 took state limit is
  # A share that is expected to stay away is not waited for as long.
  [ "$wanted" = back ] && limit=$BACK || limit=8
  took=$(back "$directory" "$limit") && is=back || is=away
  state=$($manager is-active "$unit")
  if [ $is = "$wanted" ] && { [ $is = away ] || [ "$state" = active ]; }; then
    passed=$((passed + 1))
    echo "pass: $what: the share is $is${took:+ after $took s}, the unit is $state"
  else
    failed=$((failed + 1))
    echo "FAIL: $what: the share is $is${took:+ after $took s}, the unit is $state"
  fi
}

# cases NAME DIRECTORY UNIT AFTER-BOTH: all faults of one mount. AFTER-BOTH says whether the share comes back by itself
# when process and guardian were killed together.
cases() {
  local name=$1 directory=$2 unit=$3 both=$4
  verdict "$name, first use" "$directory" "$unit" back
  kill_at "$directory"
  # Within this time nothing must use the mount, so that the guardian alone acts.
  sleep 2
  verdict "$name, process killed" "$directory" "$unit" back
  kill_at "$directory" --guardian
  sleep 2
  verdict "$name, process and guardian killed" "$directory" "$unit" "$both"
  restart "$unit"
  verdict "$name, restart of the unit" "$directory" "$unit" back
  kill_at "$directory" --guardian
  restart "$unit"
  verdict "$name, restart of the unit at once after both were killed" "$directory" "$unit" back
}

restart() {
  $manager restart "$1" && return
  failed=$((failed + 1))
  echo "FAIL: restart of $1"
}

# After both were killed, a mount unit stays active: the kernel still has the dead mount. Only a service notices.
prepare
as="" manager="timeout 60 systemctl"
systemctl start mnt-auto.automount mnt-plain.mount
systemctl start mnt-nas.automount
systemctl start cifs-fuse@service
cases "fstab with x-systemd.automount" /mnt/auto mnt-auto.mount away
cases "fstab with restart" /mnt/plain mnt-plain.mount away
cases "mount and automount unit" /mnt/nas mnt-nas.mount away
cases "service" /mnt/service cifs-fuse@service.service back
as=of_user manager="of_user timeout 60 systemctl --user"
$manager start cifs-fuse@nas
cases "service of a user" /home/$USER_NAME/nas cifs-fuse@nas.service back
echo "$passed passed, $failed failed"
