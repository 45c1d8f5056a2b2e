-- Several call centres in one process: the view tells which one serves a room (NULL: the only one).

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
