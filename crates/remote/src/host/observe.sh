tag=$1 number=$2 known=$3 most=$4
plain "$tag"
dir=$root/instances/$tag/launch-$number
[ -d "$dir" ] || die "gone"
cd "$dir" || die "gone"
pid=$(cat pid 2>/dev/null)
if [ -n "$pid" ] && alive "$pid" && marked "$pid" "$tag"; then echo "alive yes"; else echo "alive no"; fi
[ -f exit ] && echo "exit $(cat exit)"
hex=$(printf '%04X' "$(cat port)")
if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F:]* 0A "; then echo "listening yes"; else echo "listening no"; fi
if command -v nvidia-smi >/dev/null 2>&1; then
  nvidia-smi --query-gpu=memory.used,memory.total --format=csv,noheader,nounits 2>/dev/null | sed 's/^/memory /'
fi
size=$(wc -c < log)
echo "size $size"
echo end
[ "$size" = "$known" ] || tail -c "$most" log
