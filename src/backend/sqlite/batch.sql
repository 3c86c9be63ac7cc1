DELETE FROM entries WHERE (table_name, key) IN (
    SELECT item.value ->> 0, unhex(item.value ->> 1) FROM json_each(?) AS item
);
-- `WHERE true` tells the parser that ON CONFLICT does not belong to a join.
INSERT INTO entries (table_name, key, version, expires, checksum, value)
SELECT
    item.value ->> 0,
    unhex(item.value ->> 1),
    item.value ->> 2,
    item.value ->> 3,
    item.value ->> 4,
    unhex(item.value ->> 5)
FROM json_each(?) AS item WHERE true
ON CONFLICT (table_name, key) DO UPDATE
SET
    version = excluded.version,
    expires = excluded.expires,
    checksum = excluded.checksum,
    value = excluded.value;
UPDATE counter SET version = ?
