# Sourced: a mount with a watchdog. The program under test is $program.

# mount_share HOME MOUNTPOINT LIMIT [OPTION...]: mounts the share of the Samba in HOME. After LIMIT seconds the watchdog
# aborts the FUSE connection: every call that waits fails, and the program goes on and fails. What then still runs of the
# process group in HOME/group is killed. If $mount_user is set (UID:GID), that user mounts. The log of the mount is
# HOME/mount-log/log.
mount_share() {
  local home=$1 mountpoint=$2 limit=$3 as=() connection
  shift 3
  mkdir -p "$mountpoint" "$home/mount-log"
  if [ -n "${mount_user:-}" ]; then
    chown "$mount_user" "$mountpoint" "$home/mount-log"
    as=(setpriv "--reuid=${mount_user%:*}" "--regid=${mount_user#*:}" --clear-groups)
  fi
  AUTH_USERNAME=$samba_user AUTH_PASSWORD=$PASSWORD timeout 60 "${as[@]}" "$program" "cifs://127.0.0.1:$port/share" "$mountpoint" \
    --log-target="file:$home/mount-log/log" "$@" </dev/null || {
    echo "mounting failed: $program $*" >&2
    return 1
  }
  connection=$(connection_of "$mountpoint")
  # Of its own process group, so that its sleep ends with it.
  set -m
  (
    sleep "$limit"
    echo "WATCHDOG: $mountpoint is still in use after $limit s: aborting its FUSE connection $connection"
    touch "$home/aborted"
    abort_connection "$connection"
    sleep 30
    kill -KILL -- "-$(cat "$home/group")"
  ) </dev/null >&2 &
  watchdog=$!
  set +m
}

# unmount_share HOME MOUNTPOINT: ends the mount, whatever state it is in. Fails if it had to be forced, or if the watchdog
# has ended it.
unmount_share() {
  local home=$1 mountpoint=$2 status=0 connection
  if [ -n "${watchdog:-}" ]; then
    kill -KILL -- "-$watchdog" 2>/dev/null || true
    wait "$watchdog" 2>/dev/null || true
    watchdog=""
  fi
  # No stat(2) here: root has no access to another user's mount, and a stat would wait for a mount that hangs.
  if connection=$(connection_of "$mountpoint") && ! timeout 60 fusermount3 -u "$mountpoint"; then
    echo "cannot unmount $mountpoint: aborting its FUSE connection $connection" >&2
    abort_connection "$connection" || true
    umount -l "$mountpoint" || true
    status=1
  fi
  [ ! -e "$home/aborted" ] || status=1
  rmdir "$mountpoint" || status=1
  return $status
}

# connection_of MOUNTPOINT: the number of its FUSE connection, which is the minor number of its device.
connection_of() {
  awk -v mountpoint="$1" '$5 == mountpoint { minor = $3 } END { sub(/.*:/, "", minor); print minor; exit minor == "" }' /proc/self/mountinfo
}

abort_connection() {
  echo 1 >"/sys/fs/fuse/connections/$1/abort"
}
