-- "micr" in ASCII: tells a database of ours from one of another program.
PRAGMA application_id = 1835623282;

-- `value` comes last, so that the other columns are read without following its overflow pages.
CREATE TABLE entries (
    table_name TEXT NOT NULL,
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    -- Milliseconds since 1970; NULL never expires.
    expires INTEGER,
    value BLOB NOT NULL,
    PRIMARY KEY (table_name, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL;

-- One row: the last version given out. It outlives deleted entries, so no version is given twice.
CREATE TABLE counter (version INTEGER NOT NULL) STRICT;
INSERT INTO counter (version) VALUES (0);
