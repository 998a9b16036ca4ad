echo "disk $(df -Pk "$HOME" | awk 'NR == 2 { print $4 }')"
if command -v nvidia-smi >/dev/null 2>&1; then
  # A broken card makes it hang; a machine that cannot say what it has must not hold everything up.
  bounded=; command -v timeout >/dev/null 2>&1 && bounded='timeout -k 2 15'
  gpus=$($bounded nvidia-smi --query-gpu=index,memory.total,memory.used,compute_cap,driver_version,name --format=csv,noheader,nounits 2>&1)
  status=$?
  if [ $status -ge 124 ]; then echo 'error `nvidia-smi` gave no answer within 15 s: the machine needs its administrator'; exit 0; fi
  printf '%s\n' "$gpus" | grep -E '^[0-9]+, *[0-9]+,' | sed 's/^/gpu /'
  printf '%s\n' "$gpus" | grep -vE '^[0-9]+, *[0-9]+,' | head -n 1 | sed '/^ *$/d; s/^/odd /'
fi
for dir in "$root"/instances/*/; do
  [ -f "$dir/gpus" ] && echo "held $(basename "$dir") $(cat "$dir/gpus")"
done
echo end
