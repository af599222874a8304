#!/usr/bin/env bash
# The main job on real input: TPC-H orders and lineitem, versioned, branched and queried.
# `make demo` runs it; SCALE=1 makes 6 million line items of it (0.1 is the default).
set -euo pipefail

scale=${SCALE:-0.1}
here=demo-repo
data=$here/tpch-$scale

step() { printf '\n\033[1m%s\033[0m\n' "# $*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

mkdir -p "$data"
if [ ! -f "$data/lineitem.parquet" ]; then
    step "Generating TPC-H at scale $scale"
    tpchgen-cli parquet --scale-factor "$scale" --tables orders,lineitem --output-dir "$data"
fi
rm -rf "$here/.datasnap"
export DATASNAP_REPO=$here

step "A repository, and two tables in one snapshot each"
run datasnap init "$here"
run datasnap import orders "$data/orders.parquet" --key o_orderkey -m "orders of TPC-H"
run datasnap import lineitem "$data/lineitem.parquet" --key l_orderkey,l_linenumber -m "line items of TPC-H"
run datasnap tag v1.0
run datasnap ls

step "A branch for an experiment: nothing is copied"
run datasnap switch --create exp/discounted

step "A pipeline hands over the whole table again, with one new column"
python - "$data/features.parquet" <<'PYTHON'
import sys

import datasnap

datasnap.open().sql(
    """
    SELECT *, (l_extendedprice * (1 - l_discount))::DOUBLE AS l_discounted
    FROM lineitem ORDER BY l_orderkey, l_linenumber
    """
).write_parquet(sys.argv[1])
PYTHON
run datasnap import lineitem "$data/features.parquet" -m "feature: discounted price"

step "What the branch cost"
run datasnap log --oneline
run datasnap status

step "Both versions in one SQL statement"
run datasnap sql "
    SELECT l_returnflag AS flag, count(*) AS items,
           round(avg(old.l_extendedprice), 2) AS price,
           round(avg(new.l_discounted), 2) AS discounted
    FROM snapshot('lineitem', 'v1.0') AS old
    JOIN \"exp/discounted\".lineitem AS new USING (l_orderkey, l_linenumber, l_returnflag)
    GROUP BY ALL ORDER BY ALL"

step "Rows changed where they are: a commit costs what it changes"
run datasnap update lineitem "l_discount = 0" --where "l_orderkey % 5000 = 1" -m "no discounts"
run datasnap delete lineitem --where "l_quantity = 50 AND l_tax = 0.08" -m "wrong rows"
run datasnap sql "ALTER TABLE lineitem RENAME l_discounted TO l_net" -m "a better name"
run datasnap optimize lineitem

step "Meanwhile on main: another column of the same table changes"
run datasnap switch main
run datasnap update lineitem "l_tax = 0" --where "l_orderkey % 5000 = 1" -m "no taxes"

step "What differs: at a glance, row by row, and who changed a cell"
run datasnap diff main exp/discounted
run datasnap diff v1.0 main --rows --limit 3
run datasnap blame lineitem --key 1,1

step "The branch comes back: a merge by cell, of rows that both sides changed"
run datasnap merge exp/discounted
run datasnap sql "
    SELECT change, count(*) AS rows FROM diff('lineitem', 'v1.0', 'main') GROUP BY ALL ORDER BY ALL"
