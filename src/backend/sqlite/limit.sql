-- The index tells how many of the entries in the way may have expired and not been removed yet.
LIMIT ?6 + (SELECT count(*) FROM (SELECT 1 FROM entries WHERE expires <= ?5 LIMIT 1000))
