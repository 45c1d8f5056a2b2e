-- Which customer session each room is: one row a room, read from its record. For people and their
-- tools; the bridge itself never asks it. What a room has none of is null. No operator of JSON reads
-- what holds an escaped NUL, and people may write one.

CREATE VIEW sessions AS
  SELECT room_id, customer, phase,
    (now_in ->> 'queue_id')::bigint AS queue,
    (now_in ->> 'request_id')::bigint AS request_id,
    (now_in ->> 'session_id')::bigint AS session_id,
    (SELECT string_agg(coalesce(nullif(agent ->> 'name', ''), agent ->> 'id'), ', ')
      FROM json_array_elements(now_in -> 'agents') AS agent) AS agents,
    to_timestamp((now_in ->> 'since')::bigint / 1000.0) AS since
  FROM (SELECT room_id, nullif(customer, '') AS customer, phase,
      replace(convert_from(record, 'UTF8'), '\u0000', '\ufffd')::json
        -> 'conversation' -> 'phase' AS now_in
    FROM rooms) AS served;
