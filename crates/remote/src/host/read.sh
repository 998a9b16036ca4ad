tag=$1 number=$2 from=$3 most=$4
plain "$tag"
cd "$root/instances/$tag/launch-$number" 2>/dev/null || die "gone"
echo "size $(wc -c < log)"
echo end
tail -c "+$((from + 1))" log | head -c "$most"
