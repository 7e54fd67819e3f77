#!/bin/sh
# milvus-lite 3.2.2 with pymilvus 3.0.2, filters over a nullable field of which one row has no value.
#
# Guess: a row without a value is treated alike by conditions that say the same: `n != 1` and `n not in [1]`.
# Behaviour: comparisons and their negation leave the row out, as SQL does. `not in` keeps it, and so does a negated
# `array_contains`.
#
# Seen (rows 0 without a value, 1, 2):
#   n != 1: [2]
#   not (n == 1): [2]
#   n not in [1]: [0, 2]
#   not (n in [1]): [0, 2]
#   not array_contains(a, 1): [0, 2]
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q milvus-lite==3.2.2 pymilvus==3.0.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
from pymilvus import DataType, MilvusClient

client = MilvusClient("./x.db")
schema = client.create_schema(auto_id=False)
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
schema.add_field("n", DataType.INT64, nullable=True)
schema.add_field("a", DataType.ARRAY, element_type=DataType.INT64, max_capacity=4, nullable=True)
indexes = client.prepare_index_params()
indexes.add_index("v", index_type="FLAT", metric_type="COSINE")
client.create_collection("rows", schema=schema, index_params=indexes, consistency_level="Strong")
client.insert("rows", [{"id": i, "v": [1, i], "n": i or None, "a": [i] if i else None} for i in range(3)])
expected = {
    "n != 1": [2],
    "not (n == 1)": [2],
    "n not in [1]": [0, 2],
    "not (n in [1])": [0, 2],
    "not array_contains(a, 1)": [0, 2],
}
for condition, ids in expected.items():
    seen = sorted(row["id"] for row in client.query("rows", filter=condition, output_fields=["id"]))
    print(f"{condition}: {seen}")
    assert seen == ids
PY
