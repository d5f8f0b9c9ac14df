-- Cycles through the requests of a file, one on each line: method, path and token, "-" for none. All are made before the
-- first is sent. The second argument is the size of their body, the third how many
-- more fields each has.
local made, n, at = {}, 0, 0

function init(args)
  local body
  local size = tonumber(args[2] or "0")
  if size > 0 then body = string.rep("x", size) end
  local more = tonumber(args[3] or "0")
  for line in io.lines(args[1]) do
    local method, path, token = line:match("^(%S+) (%S+) (%S+)$")
    local headers = {}
    if token ~= "-" then headers["Authorization"] = "Bearer " .. token end
    for i = 1, more do headers["X-Further-" .. i] = "value-of-field-" .. i end
    n = n + 1
    made[n] = wrk.format(method, path, headers, body)
  end
end

function request()
  at = at % n + 1
  return made[at]
end

function done(summary)
  local e = summary.errors
  io.write(string.format("\ntally %d %d %d\n", summary.requests, e.status, e.connect + e.read + e.write + e.timeout))
end
