#!/bin/sh
# A runc that fails on cue. It notes each call in "calls" beside itself; where a file on-VERB lies there, its shell text is
# run first, with the call's arguments, and with $real (runc), $dir, $verb, $id, $root, $pid_file, $log and $bundle set. What does
# not exit goes on to the real runc.
dir=${0%/*}
real=$(cat "$dir/real")
verb= take= id= root= pid_file= log= bundle=
for word in "$@"; do
  case $take in
    --root) root=$word ;;
    --pid-file) pid_file=$word ;;
    --log) log=$word ;;
    --bundle) bundle=$word ;;
  esac
  if [ -n "$take" ]; then
    take=
    continue
  fi
  case $word in
    --root | --log | --log-format | --bundle | --pid-file | --console-socket | --process | --format) take=$word ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; fi ;;
  esac
  id=$word
done
echo "$*" >>"$dir/calls"
if [ -f "$dir/on-$verb" ]; then
  . "$dir/on-$verb"
fi
exec "$real" "$@"
