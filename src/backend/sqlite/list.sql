SELECT key, version, expires, CASE WHEN ? THEN x'' ELSE value END
FROM entries
WHERE table_name = ? AND key >= ? AND key < ? AND (expires IS NULL OR expires > ?)
ORDER BY key
