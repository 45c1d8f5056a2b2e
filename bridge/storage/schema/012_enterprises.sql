-- The view tells which customer session each room is, and which call centre serves it (null: the
-- only one): a row a room, read from its record. It is for people and their tools; the bridge itself
-- never asks it. What a room has none of is null. No operator of JSON reads what holds an escaped
-- NUL, and people may write one.

-- sqlite only
DROP VIEW IF EXISTS sessions;
-- sqlite only
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
-- postgres only
CREATE OR REPLACE VIEW sessions AS
  SELECT coalesce(record ->> 'place', room_id) AS room_id, customer, phase,
    (now_in ->> 'queue_id')::bigint AS queue,
    (now_in ->> 'request_id')::bigint AS request_id,
    (now_in ->> 'session_id')::bigint AS session_id,
    (SELECT string_agg(coalesce(nullif(agent ->> 'name', ''), agent ->> 'id'), ', ')
      FROM json_array_elements(now_in -> 'agents') AS agent) AS agents,
    to_timestamp((now_in ->> 'since')::bigint / 1000.0) AS since,
    record ->> 'enterprise' AS enterprise
  FROM (SELECT room_id, customer, phase, record, record -> 'conversation' -> 'phase' AS now_in
    FROM (SELECT room_id, nullif(customer, '') AS customer, phase,
        replace(convert_from(record, 'UTF8'), '\u0000', '\ufffd')::json AS record
      FROM rooms) AS stored) AS served;
