# Sourced by tests/long: a case is a part, run as one user on one Samba and one mount.

# run_part PART: runs all cases of a part, and counts them.
run_part() {
  local part=$1 user policy
  for policy in "${POLICIES[@]}"; do
    [ "$policy" = plain ] || [[ " ${WITH_OWNERS[*]} " = *" $part "* ]] || continue
    for user in ${users[$part]}; do
      run_case "$part" "$user" "$policy"
    done
  done
}

# run_case PART USER POLICY
run_case() {
  local part=$1 user=$2 policy=$3 status=0 started=$SECONDS
  local name=$part-$user-$policy
  log=$logs/$name.log
  home=$scratch/$name
  # A short path: that of a UNIX socket has 107 bytes at most.
  mountpoint=$scratch/mnt
  mount_user=""
  [ "$user" = root ] || mount_user=$(id -u "$user"):$(id -g "$user")
  if prepare_case "$part" "$user" "$policy" >"$log" 2>&1; then
    # In a process group of its own, which the watchdog can kill, and without the shell's special treatment of errors in
    # conditions.
    set -m
    case_processes "$part" "$user" "$policy" </dev/null >>"$log" 2>&1 &
    case_group=$!
    set +m
    echo "$case_group" >"$home/group"
    wait "$case_group" || status=$?
    kill -KILL -- "-$case_group" 2>/dev/null || true
    case_group=""
  else
    status=1
  fi
  unmount_share "$home" "$mountpoint" >>"$log" 2>&1 || status=1
  if [ "$status" = 0 ] && [ "$part" != pjdfstest ]; then
    SCALE=10 "$scratch/programs/$part.sh" check "$share/work" "$home/local" >>"$log" 2>&1 || {
      echo "on the server's disk" >>"$log"
      status=1
    }
  fi
  stop_samba
  verdict "$name" "$status" $((SECONDS - started))
  cp "$home/mount-log/log" "$logs/$name.mount.log" 2>/dev/null || true
  rm -rf --one-file-system "$home" || true
}

# prepare_case PART USER POLICY: starts the server and mounts. It is called in a condition, where no error ends a function.
prepare_case() {
  local part=$1 user=$2 policy=$3 lines options
  mkdir -p "$home/local"
  chmod 755 "$home"
  IFS=';' read -ra lines <<<"${server_lines[$policy]}"
  start_samba "$home/samba" "$user" "${lines[@]}" || return 1
  mkdir -m 777 "$share/work"
  [ -z "$mount_user" ] || chown "$mount_user" "$home/local" "$share/work"
  read -ra options <<<"${mount_options[$policy]} ${part_options[$part]:-}"
  [ -n "$mount_user" ] || options+=(--allow-other)
  mount_share "$home" "$mountpoint" "${limits[$part]:-$LIMIT}" "${options[@]}" || return 1
}

# case_processes PART USER POLICY: replaces this process by the part's.
case_processes() {
  local part=$1 user=$2 policy=$3 as=()
  [ -z "$mount_user" ] || as=(setpriv "--reuid=${mount_user%:*}" "--regid=${mount_user#*:}" --init-groups)
  if [ "$part" = pjdfstest ]; then
    run_suite "$policy" "$mountpoint/work"
    return
  fi
  exec nice "${as[@]}" env "SCALE=10" "OWNERS=${keeps_owners[$policy]}" "$scratch/programs/$part.sh" work "$mountpoint/work" "$home/local"
}

verdict() {
  if [ "$2" = 0 ]; then
    passed=$((passed + 1))
    echo "pass: $1 ($3 s)"
  else
    failed=$((failed + 1))
    echo "FAIL: $1 ($3 s)"
    tail -n 30 "$log" | sed 's/^/    /'
  fi
}

# clean_up: ends what the case that was interrupted has left, and removes everything.
clean_up() {
  [ -z "${case_group:-}" ] || kill -KILL -- "-$case_group" 2>/dev/null || true
  if [ -n "${mountpoint:-}" ] && grep -q " $mountpoint " /proc/self/mountinfo; then
    unmount_share "$home" "$mountpoint" || true
  fi
  stop_samba
  if grep -q " $scratch/" /proc/self/mountinfo; then
    echo "a mount is left below $scratch: unmount it and remove the folder" >&2
  else
    rm -rf --one-file-system "$scratch"
  fi
}
