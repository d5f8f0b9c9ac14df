-- Asks Jotgate about a request: an http-request action. HAProxy 2.5 or later. Without an answer nothing passes.
local address = "http://127.0.0.1:4180/haproxy"
local timeout = 5000 -- milliseconds

-- What Jotgate says of the client; an empty one stays removed.
local identity = {
  "x-jotgate-subject", "x-jotgate-issuer", "x-jotgate-client", "x-jotgate-tenant", "x-jotgate-actions",
  "x-jotgate-token-id", "x-request-id",
}

-- Fields of one hop, of the body, and those that only this script may say.
local own = {}
for _, name in ipairs({
  "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "expect", "host",
  "proxy-connection", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-for",
}) do
  own[name] = true
end

local function refuse(txn, status, headers, body)
  local reply = txn:reply()
  reply:set_status(status)
  for name, values in pairs(headers) do
    if not own[name] then
      for _, value in pairs(values) do
        reply:add_header(name, value)
      end
    end
  end
  reply:set_body(body or "")
  txn:done(reply)
end

core.register_action("jotgate", { "http-req" }, function(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not own[name] then
      local list = {}
      for i = 0, #values do -- HAProxy counts from 0
        if values[i] ~= nil then
          table.insert(list, values[i])
        end
      end
      headers[name] = list
    end
  end
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
  headers["x-forwarded-host"] = { txn.f:req_hdr("host") }
  headers["x-forwarded-uri"] = { txn.f:pathq() }
  headers["x-forwarded-for"] = { txn.f:src() }

  local answer = core.httpclient():get({ url = address, headers = headers, timeout = timeout })
  if answer == nil or answer.status == 0 then
    return refuse(txn, 503, { ["retry-after"] = { "1" } })
  end
  if answer.status ~= 200 then
    return refuse(txn, answer.status, answer.headers, answer.body)
  end
  for _, name in ipairs(identity) do
    txn.http:req_del_header(name)
    local values = answer.headers[name]
    local value = values and (values[0] or values[1])
    if value ~= nil and value ~= "" then
      txn.http:req_set_header(name, value)
    end
  end
end)
