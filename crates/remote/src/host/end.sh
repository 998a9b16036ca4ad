tag=$1
plain "$tag"
dir=$root/instances/$tag
lock_root
end_all "$tag"
rm -rf "$dir"
[ -e "$dir" ] && die "cannot remove $dir"
# Leaves nothing behind but what is kept on purpose, such as an installed engine.
rmdir "$root/instances" "$root" 2>/dev/null
echo end
