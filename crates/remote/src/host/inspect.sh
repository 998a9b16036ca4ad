echo "disk $(df -Pk "$HOME" | awk 'NR == 2 { print $4 }')"
if command -v nvidia-smi >/dev/null 2>&1; then
  nvidia-smi --query-gpu=index,memory.total,memory.used,compute_cap,driver_version,name --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu /'
fi
for dir in "$root"/instances/*/; do
  [ -f "$dir/gpus" ] && echo "held $(basename "$dir") $(cat "$dir/gpus")"
done
echo end
