SELECT key, version, expires, checksum, CASE WHEN ?1 OR expires <= ?5 THEN x'' ELSE value END
FROM entries
WHERE table_name = ?2 AND key >= ?3 AND key < ?4
ORDER BY key
