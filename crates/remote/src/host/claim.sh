tag=$1 gpus=$2
plain "$tag"
lock_root
if [ -f "$root/instances/$tag/gpus" ]; then echo end; exit 0; fi
for file in "$root"/instances/*/gpus; do
  [ -f "$file" ] || continue
  for held in $(tr ',' ' ' < "$file"); do
    case ",$gpus," in *",$held,"*) die "GPU $held is held by $(basename "$(dirname "$file")")";; esac
  done
done
mkdir -p "$root/instances/$tag" && printf '%s\n' "$gpus" > "$root/instances/$tag/gpus" || die "cannot write to $root"
echo end
