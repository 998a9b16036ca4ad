tag=$1 number=$2 port=$3
plain "$tag"
dir=$root/instances/$tag
[ -f "$dir/gpus" ] || die "gone"
cd "$dir" || die "gone"
exec 9>lock
lock
[ -f "$dir/gpus" ] || die "gone"
last=$(cat number 2>/dev/null || echo 0)
[ "$number" -lt "$last" ] && die "stale: start $last has happened"
if [ "$number" -eq "$last" ] && [ -f "launch-$number/pid" ]; then
  echo "pid $(cat "launch-$number/pid")"
  echo "port $(cat "launch-$number/port")"
  echo end
  exit 0
fi
# Before the first start there is nothing to end.
[ "$last" -gt 0 ] && end_all "$tag"
tries=0
while hex=$(printf '%04X' "$port"); cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F:]* 0A "; do
  port=$((port + 1)) tries=$((tries + 1))
  [ $tries -gt 200 ] && die "no free port"
done
mkdir -p "launch-$number" || die "cannot write"
IFS= read -r count
while [ "$count" -gt 0 ]; do
  IFS= read -r name; IFS= read -r escaped
  value=$(printf '%bx' "$escaped")
  export "$name=${value%x}"
  count=$((count - 1))
done
cat > "launch-$number/run.sh" || die "cannot write"
echo "$number" > number
cd "launch-$number" || die "cannot write"
echo "$port" > port
command -v setsid >/dev/null 2>&1 || die "setsid (package util-linux) is missing"
CHARTER_TAG=$tag CHARTER_PORT=$port CHARTER_LAUNCH=$number setsid sh run.sh >log 2>&1 9>&- </dev/null &
echo $! > pid
echo "pid $(cat pid)"
echo "port $port"
echo end
