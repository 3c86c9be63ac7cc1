-- `checksum` is NULL where an older program wrote the row: there is nothing to check it against.
-- `value` stays the last column, so that the others are read without following its overflow pages.
CREATE TABLE checked_entries (
    table_name TEXT NOT NULL,
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    -- Milliseconds since 1970; NULL never expires.
    expires INTEGER,
    -- Upper half: CRC-32 of the columns above; lower half: CRC-32 of the value.
    checksum INTEGER,
    value BLOB NOT NULL,
    PRIMARY KEY (table_name, key)
) STRICT, WITHOUT ROWID;

INSERT INTO checked_entries (table_name, key, version, expires, value)
SELECT table_name, key, version, expires, value FROM entries ORDER BY table_name, key;

DROP TABLE entries;
ALTER TABLE checked_entries RENAME TO entries;
CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL;
