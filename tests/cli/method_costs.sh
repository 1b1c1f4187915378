#!/usr/bin/env bash
# quick: smkd-run methods --markdown --costs: a column, blank where nothing was measured; what is refused of such a file
. "$SMKD_SRC/tests/tools/common.bash"
table() { "$run" methods --markdown "$@"; }
printf 'method,cost\nce,1\nelr, 1.254 # a comment\r\n\n# gone\nsmkd-p,2.5\n' >c.csv
table --costs c.csv >with.md || fail "a good file"
for row in '| method | networks | cost over `ce` | what |' '| `ce` | 1 or more | 1.00 | plain cross entropy |' '| `elr` | 1 or more | 1.25 | early' \
    '| `smkd-p` | 2 or more | 2.50 | ' '| `zero` | 1 or more | | self-distilling'; do
    grep -qF "$row" with.md || fail "no line with: $row"
done
# Nothing else is different, and every line of the table has as many columns.
table >without.md
[ "$(awk -F'|' '/^## /{exit} /^\|/{print NF}' with.md | sort -u | wc -l)" = 1 ] || fail "lines of different numbers of columns"
sed -n '/^## /,$p' with.md | cmp - <(sed -n '/^## /,$p' without.md) || fail "the tables of flags are others with --costs"
[ "$(grep -c '^| ' with.md)" = "$(grep -c '^| ' without.md)" ] || fail "other rows with --costs"

bad() { # TEXT LINE...: a file of these lines below the head
    local text=$1
    shift
    printf '%s\n' method,cost "$@" >bad.csv
    refuses "$text" "$run" methods --markdown --costs bad.csv
    [ ! -s out.txt ] || fail "half a table was printed"
}
bad 'bad.csv: line 2: there is no method "gone"' gone,1.5
bad 'bad.csv: line 3: ce is there twice' ce,1 ce,1
for line in ce ce,0 ce,-1 ce,nan ce,inf ce,1x ce,1,2 ,1; do bad 'bad.csv: line 2: expected METHOD,COST with a cost over 0' "$line"; done
refuses 'nowhere.csv: cannot be read' "$run" methods --markdown --costs nowhere.csv
refuses '--costs goes with --markdown' "$run" methods --costs c.csv
refuses '--costs goes with --markdown' "$run" methods ce --costs c.csv
echo ok
