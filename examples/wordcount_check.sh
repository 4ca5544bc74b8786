#!/bin/sh
# Count the words of TREE with wordcount and with a shell pipeline; compare every count.
# Use: wordcount_check.sh WORDCOUNT [TREE]        WORDCOUNT: the program; TREE: /usr/include
# Exit: 0 the same answer; 1 not; 2 wrong use.
#
# On both sides: regular files only; symbolic links are not followed, but for TREE itself (find -H);
# a word is a longest run of A-Z and a-z, in lower case, of two letters at least. sed, unlike cat,
# ends each file with a newline, so that no word goes on in the next file.
set -eu
LC_ALL=C
export LC_ALL

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "use: wordcount_check.sh WORDCOUNT [TREE]" >&2
    exit 2
fi
wordcount=$1
tree=${2:-/usr/include}
case $wordcount in */*) ;; *) wordcount=./$wordcount ;; esac

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

"$wordcount" --counts "$tmp/ours" "$tree"

find -H "$tree" -type f -exec sed -e '' {} + |
    tr 'A-Z' 'a-z' | tr -cs 'a-z' '\n' | grep '..' |
    sort | uniq -c | sed 's/^ *//' >"$tmp/theirs" || true

if ! cmp -s "$tmp/ours" "$tmp/theirs"; then
    echo "not the same answer; wordcount (<) and the shell pipeline (>):" >&2
    diff "$tmp/ours" "$tmp/theirs" | head -20 >&2
    exit 1
fi
awk '{ words += $1 } END { printf "same answer: %d distinct words, %d words\n", NR, words }' \
    "$tmp/ours"
