tag=$1
plain "$tag"
if [ -e "$root/instances/$tag" ] || [ -n "$(pids_of "$tag")" ]; then echo present; else echo absent; fi
echo end
