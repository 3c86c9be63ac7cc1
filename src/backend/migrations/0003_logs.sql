-- One row a log that was ever appended to. It outlives its records, so no offset is given twice.
CREATE TABLE logs (
    name TEXT NOT NULL PRIMARY KEY,
    -- The records from `first` on are there; older ones are being removed.
    first INTEGER NOT NULL,
    next INTEGER NOT NULL,
    -- That of the last record, in milliseconds since 1970.
    time INTEGER NOT NULL,
    -- CRC-32 of the columns above.
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    log TEXT NOT NULL,
    position INTEGER NOT NULL,
    time INTEGER NOT NULL,
    -- Upper half: CRC-32 of the columns above; lower half: CRC-32 of the value.
    checksum INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (log, position)
) STRICT, WITHOUT ROWID;
