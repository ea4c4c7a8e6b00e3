-- What wrk sends and prints. `wrk ... -s wrk.lua URL -- MODEL SEED`; the API key is in TURNOUT_BENCH_KEY.
-- Every prompt is another one, so that no cache between here and the upstream can answer.

local sent = 0
local model, seed, headers

function init(args)
  model, seed = args[1], args[2]
  headers = { ["content-type"] = "application/json" }
  local key = os.getenv("TURNOUT_BENCH_KEY")
  if key then headers["authorization"] = "Bearer " .. key end
end

function request()
  sent = sent + 1
  local body = '{"model":"' .. model .. '","messages":[{"role":"user","content":"Summarise report ' .. seed .. "-"
    .. sent .. ' of the maintenance team in one sentence."}]}'
  return wrk.format("POST", "/v1/chat/completions", headers, body)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_s":%.6f,"bytes":%d,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, e.connect, e.read, e.write, e.status, e.timeout))
end
