INSERT INTO logs (name, first, next, time, checksum)
SELECT item.value ->> 0, item.value ->> 1, item.value ->> 2, item.value ->> 3, item.value ->> 4
FROM json_each(?) AS item WHERE true
ON CONFLICT (name) DO UPDATE
SET first = excluded.first, next = excluded.next, time = excluded.time, checksum = excluded.checksum;
INSERT INTO records (log, position, time, checksum, value)
SELECT
    item.value ->> 0,
    item.value ->> 1,
    item.value ->> 2,
    item.value ->> 3,
    unhex(item.value ->> 4)
FROM json_each(?) AS item WHERE true
-- Never so, unless the disk changed the position of another record, which is lost already.
ON CONFLICT (log, position) DO UPDATE
SET time = excluded.time, checksum = excluded.checksum, value = excluded.value
