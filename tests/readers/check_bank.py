"""Opens a bank as its users do, in DuckDB and pandas, and checks what the columns promise.

Usage: check_bank.py SHARDS

In SQL alone: `cam` follows from `feature_map` and the classifier in classes.parquet, `pooled` is the
mean of the map, `nonzero` tells its zero vectors, and the counts of classes agree. In pandas: the
same of the first row with a map, through reshape. Rows of classes whose maps are not kept (`maps` in the
manifest) have an empty list in their place.
"""

import json
import pathlib
import sys

import duckdb
import numpy as np
import pandas as pd

CAM_TOLERANCE = 1e-5
POOLED_TOLERANCE = 1e-6

RECOMPUTED = """
WITH shape AS (SELECT {channels} AS k, {locations} AS l),
rows AS (
    SELECT t.*, c.weight, (SELECT k FROM shape) AS k
    FROM '{shards}/train-*.parquet' t JOIN '{shards}/classes.parquet' c USING (label)
    WHERE t.sample_id % 7 = 0 AND len(feature_map) > 0
),
located AS (
    SELECT *, [feature_map[i * k + 1 : (i + 1) * k] FOR i IN range({locations})] AS vectors FROM rows
),
activations AS (
    SELECT *, [list_dot_product(v::DOUBLE[], weight::DOUBLE[]) FOR v IN vectors] AS m FROM located
)
SELECT
    count(*) AS rows,
    max(list_max([
        abs(coalesce((m[i] - list_min(m)) / nullif(list_max(m) - list_min(m), 0), 0) - cam[i])
        FOR i IN range(1, {locations} + 1)
    ])) AS cam_error,
    max(list_max([
        abs(list_avg([v[j]::DOUBLE FOR v IN vectors]) - pooled[j]) FOR j IN range(1, {channels} + 1)
    ])) AS pooled_error,
    sum((nonzero != [list_max(list_transform(v, lambda x: abs(x))) > 0 FOR v IN vectors])::INT) AS nonzero_wrong
FROM activations
"""


def check_sql(shards, shape):
    """Recomputes columns in SQL; returns how many rows were looked at."""
    locations = shape["height"] * shape["width"]
    query = RECOMPUTED.format(shards=shards, channels=shape["channels"], locations=locations)
    rows, cam_error, pooled_error, nonzero_wrong = duckdb.sql(query).fetchall()[0]
    assert rows > 0
    assert cam_error <= CAM_TOLERANCE, f"cam differs by {cam_error}"
    assert pooled_error <= POOLED_TOLERANCE, f"pooled differs by {pooled_error}"
    assert nonzero_wrong == 0, f"nonzero differs in {nonzero_wrong} rows"
    return rows


def check_counts(shards, manifest):
    """Counts of classes, rows and views in SQL against classes.parquet and the manifest."""
    wrong = duckdb.sql(
        f"""SELECT c.name FROM '{shards}/classes.parquet' c
        LEFT JOIN (SELECT label, any_value(class_name) AS name, count(DISTINCT sample_id) AS images
                   FROM '{shards}/train-*.parquet' GROUP BY label) t USING (label)
        WHERE t.images IS DISTINCT FROM c.train_images OR t.name IS DISTINCT FROM c.name"""
    ).fetchall()
    assert wrong == [], f"class counts differ: {wrong}"
    for split, entry in manifest["splits"].items():
        rows, images = duckdb.sql(
            f"SELECT count(*), count(DISTINCT sample_id) FROM '{shards}/{split}-*.parquet'"
        ).fetchall()[0]
        assert (rows, images) == (entry["rows"], entry["images"]), split


def check_maps(shards, manifest):
    """Which rows have a map, against the manifest."""
    kept = manifest.get("maps", {"kept": "all"})
    of_class = {"all": "true", "none": "false"}.get(kept["kept"])
    if of_class is None:
        of_class = f"list_contains({kept['classes']}::INTEGER[], label)"
    shape = manifest["feature_shape"]
    values = shape["channels"] * shape["height"] * shape["width"]
    wrong = duckdb.sql(
        f"""SELECT count(*) FROM '{shards}/train-*.parquet'
        WHERE len(feature_map) != if({of_class}, {values}, 0)"""
    ).fetchall()[0][0]
    assert wrong == 0, f"{wrong} rows with a map of another length than the manifest says"


def check_pandas(shards, shape):
    """The first row with a map of the first shard, as arrays."""
    frame = pd.read_parquet(sorted(shards.glob("train-*.parquet"))[0])
    classes = pd.read_parquet(shards / "classes.parquet").set_index("label")
    row = frame[frame.feature_map.map(len) > 0].iloc[0]
    feature_map = np.asarray(row.feature_map, dtype=np.float64)
    feature_map = feature_map.reshape(shape["height"], shape["width"], shape["channels"])
    activation = feature_map @ np.asarray(classes.weight[row.label], dtype=np.float64)
    cam = (activation - activation.min()) / (activation.max() - activation.min())
    np.testing.assert_allclose(cam.ravel(), row.cam, atol=CAM_TOLERANCE)
    np.testing.assert_allclose(feature_map.mean((0, 1)), row.pooled, atol=POOLED_TOLERANCE)


def main():
    shards = pathlib.Path(sys.argv[1])
    manifest = json.loads((shards / "manifest.json").read_text())
    shape = manifest["feature_shape"]
    rows = check_sql(shards, shape)
    check_counts(shards, manifest)
    check_maps(shards, manifest)
    check_pandas(shards, shape)
    print(f"{rows} rows recomputed in SQL, counts and pandas agree")


if __name__ == "__main__":
    main()
