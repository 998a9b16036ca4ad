# Shared by all scripts. POSIX sh; Linux with /proc.
umask 077
root=$HOME/.charter
# On a machine that ends itself when nobody looks after it, this is the looking after.
[ -f "$root/lease" ] && touch "$root/lease"
die() { printf 'error %s\n' "$*"; exit 1; }
plain() { case $1 in '' | *[!A-Za-z0-9._-]* | .*) die "bad name";; esac; }
lock() { command -v flock >/dev/null 2>&1 || die "flock (package util-linux) is missing"; flock -w 30 9 || die "the lock is held for too long"; }
# The folder itself is the lock. It may be removed while we wait for it; then the new one is taken.
lock_root() {
  while :; do
    mkdir -p "$root" || die "cannot write to $root"
    exec 9<"$root" || die "cannot read $root"
    lock
    [ "$root" -ef "/proc/$$/fd/9" ] && return
  done
}
state_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 1; }
marked() { tr '\0' '\n' 2>/dev/null < "/proc/$1/environ" | grep -qx "CHARTER_TAG=$2"; }
alive() { case $(state_of "$1") in '' | Z | X) return 1;; esac; }
# Every process of a tag: those that carry its mark, and those of the sessions that its starts have led. Programs may
# overwrite their environment, so the session counts too, unless its leader is a stranger who got the number later.
pids_of() {
  sessions=" "
  for file in "$root/instances/$1"/launch-*/pid; do
    [ -f "$file" ] || continue
    leader=$(cat "$file")
    if [ ! -d "/proc/$leader" ] || marked "$leader" "$1"; then sessions="$sessions$leader "; fi
  done
  {
    # One search over all processes, and a closer look at those that it finds: a tag may begin like another one.
    for file in $(grep -lsaF "CHARTER_TAG=$1" /proc/[0-9]*/environ); do
      pid=${file#/proc/} pid=${pid%/environ}
      [ "$pid" != $$ ] && alive "$pid" && marked "$pid" "$1" && echo "$pid"
    done
    if [ "$sessions" != " " ]; then
      cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) .*) \(.\) [0-9-]* [0-9-]* \([0-9-]*\) .*/\1 \2 \3/p' | while read -r pid state session; do
        case $state in Z | X) continue;; esac
        case $sessions in *" $session "*) [ "$pid" != $$ ] && echo "$pid";; esac
      done
    fi
  } | sort -u
}
end_all() {
  tries=0
  while pids=$(pids_of "$1"); [ -n "$pids" ]; do
    if [ $tries -ge 50 ]; then kill -KILL $pids 2>/dev/null; elif [ $tries -eq 0 ]; then kill -TERM $pids 2>/dev/null; fi
    [ $tries -ge 150 ] && die "process $(echo $pids) cannot be ended"
    tries=$((tries + 1))
    sleep 0.2
  done
}
