# Sourced: a Samba of its own, with its own folders, password database and a free port of the loopback.
#
# It runs as root and acts on its disk as the user who has signed in. The share's folder is open to all.

PASSWORD=long-Secret7

# start_samba HOME USER [LINE OF SMB.CONF...]: starts smbd with its files below HOME, where USER, an account of this machine,
# can sign in. The lines are added to the share. Sets $samba_user, $port, $share (the share's folder on the server's disk)
# and $samba_pid.
start_samba() {
  local home=$1 folder attempt
  samba_user=$2
  shift 2
  mkdir -p "$home"
  chmod 755 "$home"
  for folder in private lock state cache pid ncalrpc files; do
    mkdir "$home/$folder"
  done
  share=$home/files
  chmod 777 "$share"
  port=$(free_port)
  samba_configuration "$home" "$@" >"$home/smb.conf"
  printf '%s\n%s\n' $PASSWORD $PASSWORD | smbpasswd -c "$home/smb.conf" -a -s "$samba_user" >"$home/smbpasswd.log" 2>&1 || {
    cat "$home/smbpasswd.log" >&2
    return 1
  }
  (umask 077 && printf 'username=%s\npassword=%s\n' "$samba_user" $PASSWORD >"$home/credentials")
  # A process group of its own: all processes of the server are killed together.
  set -m
  smbd -s "$home/smb.conf" --foreground --no-process-group </dev/null >"$home/smbd.log" 2>&1 &
  samba_pid=$!
  set +m
  for attempt in {1..100}; do
    if smbclient "//127.0.0.1/share" -A "$home/credentials" -p "$port" -c exit >"$home/smbclient.log" 2>&1; then
      return 0
    fi
    kill -0 "$samba_pid" 2>/dev/null || break
    sleep 0.2
  done
  echo "smbd does not serve on port $port:" >&2
  tail -n 5 "$home/smbd.log" "$home/log" "$home/smbclient.log" >&2
  return 1
}

samba_configuration() {
  local home=$1
  shift
  cat <<END
[global]
server role = standalone server
interfaces = lo
bind interfaces only = yes
smb ports = $port
private dir = $home/private
lock directory = $home/lock
state directory = $home/state
cache directory = $home/cache
pid directory = $home/pid
ncalrpc dir = $home/ncalrpc
log file = $home/log
log level = 1
disable netbios = yes
disable spoolss = yes
load printers = no
passdb backend = tdbsam
[share]
path = $home/files
read only = no
store dos attributes = yes
END
  [ $# = 0 ] || printf '%s\n' "$@"
}

# stop_samba: kills the server and all its processes.
stop_samba() {
  local home=${share%/files} process
  [ -n "${samba_pid:-}" ] || return 0
  kill -KILL -- "-$samba_pid" 2>/dev/null || true
  wait "$samba_pid" 2>/dev/null || true
  samba_pid=""
  # The programs for named pipes, which Samba starts at the first list of shares, are in sessions of their own.
  for process in $(pgrep -f -- "--configfile=$home/smb.conf" || true); do
    kill -KILL "$process" 2>/dev/null || true
  done
}

# free_port: a TCP port of the loopback on which no process listens, below the ephemeral ports.
free_port() {
  local port
  while true; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo $port
      return
    fi
  done
}
