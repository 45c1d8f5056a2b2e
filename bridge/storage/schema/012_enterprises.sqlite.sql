-- Several call centres in one process: the view tells which one serves a room (NULL: the only one).

DROP VIEW sessions;
CREATE VIEW sessions AS
  SELECT room_id, customer, phase,
    json_extract(now_in, '$.queue_id') AS queue,
    json_extract(now_in, '$.request_id') AS request_id,
    json_extract(now_in, '$.session_id') AS session_id,
    (SELECT group_concat(coalesce(nullif(json_extract(value, '$.name'), ''),
      json_extract(value, '$.id')), ', ') FROM json_each(now_in, '$.agents')) AS agents,
    datetime(json_extract(now_in, '$.since') / 1000, 'unixepoch') AS since,
    enterprise
  FROM (SELECT coalesce(json_extract(CAST(record AS TEXT), '$.place'), room_id) AS room_id,
      nullif(customer, '') AS customer, phase,
      json_extract(CAST(record AS TEXT), '$.enterprise') AS enterprise,
      json_extract(CAST(record AS TEXT), '$.conversation.phase') AS now_in
    FROM rooms) AS served;
